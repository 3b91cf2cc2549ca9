"""Where things lie, for tests in folders of any depth, and what lies below a folder."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = ROOT / "configs"
SHARED_DATA = ROOT.parent / "shared" / "data"  # real data; tests that use it are skipped without


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, by their paths in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def configs_of(task: str) -> list[Path]:
    """Return the shipped configs of a task; those that name none are recognition's."""
    named = {
        path: re.search(r"^  task_type: (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in sorted(CONFIGS.glob("*.yaml"))
    }
    return [path for path, found in named.items() if (found[1] if found else "recognition") == task]
