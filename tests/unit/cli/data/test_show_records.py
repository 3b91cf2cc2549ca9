import hashlib
import json

import pytest
from places import GOLDEN

from plsc.cli.data.main import main
from plsc.data.records.recordio import RecordWriter

CASES = GOLDEN / "recordio_cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())


def printed(capsys, *arguments, status=0):
    assert main(["records", *map(str, arguments)]) == status
    return capsys.readouterr()


def objects(capsys, *arguments):
    lines = printed(capsys, *arguments, "--json").out.splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


@pytest.fixture
def rec(tmp_path):
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.write(0, b"", labels=[3, 4])
        writer.write(1, b"first", labels=0)
        writer.write(2, b"second", labels=[0, 0.25])
        writer.write(3, b"", labels=[1, 3])
    return tmp_path / "train.rec"


@pytest.mark.parametrize("case", EXPECTED)
def test_says_what_mxnet_reads(capsys, case):
    found = objects(capsys, CASES / f"{case}.rec", "--sha256")
    assert [{**row, "id2": 0} for row in EXPECTED[case]] == found


def test_lines(capsys, rec):
    assert printed(capsys, rec).out.splitlines() == [
        "key 0\tflag 2\tlabels 3,4\tid 0\tbytes 0",
        "key 1\tflag 0\tlabels 0\tid 1\tbytes 5",
        "key 2\tflag 2\tlabels 0,0.25\tid 2\tbytes 6",
        "key 3\tflag 2\tlabels 1,3\tid 3\tbytes 0",
    ]
    digest = hashlib.sha256(b"second").hexdigest()
    (line,) = printed(capsys, rec.parent, "--key", 2, "--sha256").out.splitlines()
    assert line == f"key 2\tflag 2\tlabels 0,0.25\tid 2\tbytes 6\tsha256 {digest}"


def test_some_of_them(capsys, rec):
    assert [row["key"] for row in objects(capsys, rec, "--limit", 2)] == [0, 1]
    assert objects(capsys, rec, "--limit", 0) == []
    assert [row["key"] for row in objects(capsys, rec, "--key", 3)] == [3]
    for key in (-1, 4):
        text = printed(capsys, rec, "--key", key, status=2).err
        assert f"{rec}: has no record with key {key}\n" in text
    assert "--limit must not be negative" in printed(capsys, rec, "--limit", -1, status=2).err


def test_without_an_index_ids_stand_for_keys(capsys, rec):
    with_index = printed(capsys, rec).out
    rec.with_suffix(".idx").unlink()
    assert printed(capsys, rec).out == with_index
    assert [row["key"] for row in objects(capsys, rec, "--key", 2)] == [2]
    assert [path.name for path in rec.parent.iterdir()] == ["train.rec"]  # looking writes nothing


def test_numbers_that_json_does_not_have(capsys, tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"", labels=[float("nan"), float("-inf"), 0.1])
    (row,) = objects(capsys, tmp_path / "a.rec")
    assert row["labels"][:2] == ["nan", "-inf"]
    assert "labels nan,-inf,0.100000001\t" in printed(capsys, tmp_path / "a.rec").out


def test_a_damaged_record_follows_the_sound_ones(capsys, rec):
    content = bytearray(rec.read_bytes())
    offset = int(rec.with_suffix(".idx").read_text().split()[5])
    content[offset] ^= 1
    rec.write_bytes(content)
    done = printed(capsys, rec, status=2)
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["key 0", "key 1"]
    assert f"plsc-data: error: {rec}: record 2: byte {offset}: no record begins here" in done.err


def test_what_is_no_record_file(capsys, rec, tmp_path):
    assert "no such file" in printed(capsys, tmp_path / "absent.rec", status=2).err
    (tmp_path / "two").mkdir()
    for name in ("a.rec", "b.rec"):
        (tmp_path / "two" / name).write_bytes(rec.read_bytes())
    text = printed(capsys, tmp_path / "two", status=2).err
    assert "two: has 2 .rec files (a.rec, b.rec): name one of them" in text
