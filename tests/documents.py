"""The documents as tests read them: blocks of code, commands, tables, quoted lines."""

import re
import textwrap
from pathlib import Path

from places import ROOT


class Document:
    """The text of one or more pages by its parts."""

    def __init__(self, *pages: Path):
        self.text = "\n".join(page.read_text(encoding="utf-8") for page in pages)

    def fenced(self, languages: str) -> list[tuple[str, str]]:
        """Return (language, contents) of the fenced blocks of these, `a|b`, in order."""
        pattern = re.compile(rf"^( *)```({languages})\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
        found = pattern.findall(self.text)
        return [(language, textwrap.dedent(block)) for _, language, block in found]

    def blocks(self, language: str) -> list[str]:
        return [block for _, block in self.fenced(language)]

    def commands(self) -> list[str]:
        return [command for block in self.blocks("bash") for command in commands(block)]

    def table(self, head: str, *, below: str = "") -> list[list[str]]:
        """Return the cells of the first table below these words whose first line begins so."""
        pattern = rf"^ *\| {re.escape(head)}.*\n *\|[-|: ]+\|\n((?: *\|.*\n)+)"
        rows = re.findall(pattern, self.text.partition(below)[2] if below else self.text, re.M)[0]
        return [cells_of(row) for row in rows.splitlines()]

    def names(self, head: str, *, below: str = "") -> set[str]:
        """Return what the first cells of a table's rows have between backticks."""
        return {name for cells in self.table(head, below=below) for name in codes(cells[0])}

    def quoted(self, words: str, begins: str = "") -> str:
        """Return the one line of the text blocks that has these words."""
        lines = "".join(self.blocks("text")).splitlines()
        (line,) = (line for line in lines if words in line and line.startswith(begins))
        return line


def cells_of(row: str) -> list[str]:
    inside = row.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in inside.split(" | ")]


def codes(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def commands(block: str) -> list[str]:
    """Return the commands of a bash block without comments, one per line."""
    lines = block.replace("\\\n", " ").splitlines()
    found = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines]
    return [" ".join(line.split()) for line in found if line]


DOCS = ROOT / "docs"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "tasks").rglob("*.md")),
]


def pages(names: str) -> Document:
    return Document(*(DOCS / f"{name}.md" for name in names.split()))


README = Document(ROOT / "README.md", DOCS / "index.md", ROOT / "CONTRIBUTING.md")
RECIPE = pages(
    "walk guide/data guide/train guide/resume guide/scale guide/evaluate guide/thresholds "
    "guide/export guide/use guide/ijb extend/index errors reference/metrics reference/exports "
    "reference/configs reference/checkpoints coming-from resources verified licences"
)
QUALITY = pages("guide/quality quality-experiment")
DETECTION = pages("guide/detect guide/widerface")
