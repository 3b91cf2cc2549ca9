"""`plsc-data` as users run it."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from commands import installed, python, ran, stopped
from pictures import noise
from places import ROOT, files_below
from refusals import error_line
from small_runs import forked

from plsc.data.records.recordio import RecordWriter
from plsc.data.sets.record_images import RecordImages

SCRIPT = str(Path(sys.executable).with_name("plsc-data"))
COMMANDS = ["align", "pack", "unpack", "records", "inspect", "check", "pairs"]


plsc_data = partial(installed, "plsc-data")


@pytest.fixture
def people(tmp_path):
    for person in range(5):
        folder = tmp_path / "people" / f"person {person}"
        folder.mkdir(parents=True)
        for number in range(1, person + 20):
            (folder / f"{number:03d}.jpg").write_bytes(noise(100 * person + number))
    return tmp_path / "people"


def test_help_shows_every_command_and_works_without_paddle():
    done = plsc_data("--help")
    assert not done.stderr
    assert re.findall(r"^    (\w+)", done.stdout, re.MULTILINE) == COMMANDS
    code = (
        "import sys; from plsc.cli.data.main import build_parser; build_parser(); "
        "print('paddle' in sys.modules, 'matplotlib' in sys.modules)"
    )
    assert python("-c", code).stdout.split() == ["False", "False"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_teaches(command):
    done = forked("plsc-data", command, "--help", cwd=ROOT)
    assert not done.stderr
    assert f"usage: plsc-data {command}" in done.stdout
    assert f"examples:\n  plsc-data {command} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_wrong_command_or_option_is_refused():
    plsc_data(status=2), plsc_data("pakc", status=2)
    assert "SOURCE" in plsc_data("check", status=2).stderr
    done = plsc_data("records", "absent.rec", status=2)
    assert done.stdout == ""
    assert done.stderr == "plsc-data: error: absent.rec: no such file or folder\n"


def test_pack_and_unpack_give_back_the_same(people, tmp_path):
    first, again, back = tmp_path / "set", tmp_path / "again", tmp_path / "back"
    done = plsc_data("pack", people, first, "--workers", 2, "--json")
    report = json.loads(done.stdout)
    assert (report["num_image"], report["num_classes"]) == (105, 5)
    assert "100%" in done.stderr
    plsc_data("pack", people, again, "--workers", 1)
    assert files_below(first) == files_below(again)
    plsc_data("unpack", first, back, "--folders")
    for person in people.iterdir():
        files = [path.read_bytes() for path in sorted(person.iterdir())]
        assert files == [path.read_bytes() for path in sorted((back / person.name).iterdir())]
    plsc_data("pack", back, tmp_path / "third")
    assert files_below(first) == files_below(tmp_path / "third")


def test_records_may_be_cut_short_by_their_reader(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in range(20_000):  # more than a pipe holds
            writer.write(key, b"", labels=0)
    with subprocess.Popen(
        [SCRIPT, "records", str(tmp_path / "a.rec")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as printing:
        assert printing.stdout.readline() == "key 0\tflag 0\tlabels 0\tid 0\tbytes 0\n"
        printing.stdout.close()
        assert printing.stderr.read() == ""
        assert printing.wait(timeout=60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_pack_leaves_nothing_that_passes_for_whole(people, tmp_path, number):
    links = tmp_path / "many"
    links.mkdir()
    for copy in range(3000):
        os.symlink(people / "person 4", links / f"{copy:04d}", target_is_directory=True)
    output = tmp_path / "set"

    def has_begun():
        begun = tmp_path.glob("set.partial-*/train.rec*")
        return any(path.stat().st_size > 100_000 for path in begun)

    stopped([SCRIPT, "pack", links, output], number, when=has_begun)
    assert not output.exists()
    left = list(tmp_path.glob("set.partial-*"))
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    for folder in left:  # not even there is a file by the name of a whole one
        assert not list(folder.glob("*.rec")) and not list(folder.glob("*.idx"))
        done = plsc_data("unpack", folder, tmp_path / "out", status=2)
        assert "has no .rec file" in done.stderr
    plsc_data("pack", people, output)
    assert len(RecordImages([output / "train.rec"])) == 105


def test_a_full_disk_is_one_line_and_no_folder(people, tmp_path):
    limited = f"ulimit -f 200; exec '{SCRIPT}' pack '{people}' '{tmp_path}/set' --workers 2"
    line = error_line(ran("bash", "-c", limited, status=2).stderr, "plsc-data")
    assert re.search("set: cannot be made: .*File too large", line)
    assert [path.name for path in tmp_path.iterdir()] == ["people"]
