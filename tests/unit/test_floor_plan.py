"""docs/architecture.md names rooms and files as they are."""

import re

from places import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_room_is_in_the_table():
    rooms = {path.parent.name for path in (ROOT / "plsc").glob("*/__init__.py")}
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)/`", row)} == rooms


def test_every_file_is_there():
    files = set(re.findall(r"(?<![\w/])((?:\w+/)+\w+\.py)\b", TEXT))
    assert len(files) > 20
    assert not [
        name for name in files if not ((ROOT / "plsc" / name).exists() or (ROOT / name).exists())
    ]
