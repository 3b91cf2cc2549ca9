"""Where things lie, for tests in folders of any depth, and what lies below a folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = ROOT / "configs"
SHARED_DATA = ROOT.parent / "shared" / "data"  # real data; tests that use it are skipped without


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder, by their paths in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
