"""Where things lie, for tests in folders of any depth."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = ROOT / "configs"
SHARED_DATA = ROOT.parent / "shared" / "data"  # real data; tests that use it are skipped without
