"""The READMEs as tests read them: blocks of code, commands, tables, quoted lines."""

import re
import textwrap
from pathlib import Path

from places import ROOT


class Document:
    """A README's text by its parts."""

    def __init__(self, path: Path):
        self.path, self.text = path, path.read_text(encoding="utf-8")

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


README = Document(ROOT / "README.md")
RECIPE = Document(ROOT / "tasks" / "recognition" / "face" / "README.md")
QUALITY = Document(ROOT / "tasks" / "recognition" / "quality" / "README.md")
DETECTION = Document(ROOT / "tasks" / "detection" / "face" / "README.md")
