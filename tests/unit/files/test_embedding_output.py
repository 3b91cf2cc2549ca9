"""An output is whole or absent, whenever the process that writes it ends."""

import json
import os
import shutil

import numpy as np
import pytest

from plsc.errors import UserError
from plsc.files import row_store
from plsc.files.embedding_output import EmbeddingOutput

ROWS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
ENTRIES = [(f"{row}.png", row // 2, "") for row in range(10)]
ABOUT = {"model": "m", "flip": "none"}


def opened(folder, about=ABOUT, shape=(10, 3), **options):
    return EmbeddingOutput(folder / "out.npy", shape=shape, about=about, **options)


def fill(output, *, until=10, step=3):
    """Append from where it stands up to `until`, and publish what is complete."""
    with output:
        for start in range(output.done, until, step):
            stop = min(start + step, until)
            output.append(ROWS[start:stop], ENTRIES[start:stop])
    if until == 10:
        output.publish()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def check_whole(folder):
    np.testing.assert_array_equal(np.load(folder / "out.npy", mmap_mode="r"), ROWS)
    lines = [f"{row}\t{name}\t{label}\t{error}\n" for row, (name, label, error) in rows_of()]
    assert (folder / "out.index.tsv").read_text() == "row\tpath\tlabel\terror\n" + "".join(lines)
    assert names(folder) == ["out.index.tsv", "out.json", "out.npy"]


def rows_of():
    return enumerate(ENTRIES)


def test_whole(tmp_path):
    output = opened(tmp_path, remarks={"notes": ["n"]})
    assert (output.whole, output.done) == (False, 0)
    fill(output)
    check_whole(tmp_path)
    said = json.loads((tmp_path / "out.json").read_text())
    assert said["model"] == "m" and said["notes"] == ["n"] and said["num_images"] == 10
    again = opened(tmp_path, remarks={"notes": ["another wording"]})
    assert (again.whole, again.done) == (True, 10)


@pytest.mark.parametrize("missing", ["out.npy", "out.index.tsv"])
def test_what_has_lost_a_file_is_made_anew(missing, tmp_path):
    fill(opened(tmp_path))
    (tmp_path / missing).unlink()
    again = opened(tmp_path)
    assert (again.whole, again.done) == (False, 0)
    fill(again)
    check_whole(tmp_path)


@pytest.mark.parametrize("harm", ["cut short", "other rows", "no array"])
def test_what_was_changed_since_does_not_pass_for_whole(harm, tmp_path):
    fill(opened(tmp_path))
    rows = tmp_path / "out.npy"
    if harm == "cut short":
        os.truncate(rows, rows.stat().st_size - 4)
    elif harm == "other rows":
        np.save(rows, ROWS[:5])
    else:
        rows.write_text("none\n")
    with pytest.raises(UserError, match=r"is no longer the array \[10, 3\]"):
        opened(tmp_path)
    fill(opened(tmp_path, overwrite=True))
    check_whole(tmp_path)


@pytest.mark.parametrize("until", [0, 3, 8])
def test_a_run_goes_on_where_another_ended(until, tmp_path):
    fill(opened(tmp_path), until=until)
    assert names(tmp_path) == ["out.npy.partial"]
    output = opened(tmp_path)
    with output:
        assert output.done == until
    fill(output, step=4)
    check_whole(tmp_path)


def test_what_was_not_marked_does_not_count(tmp_path, monkeypatch):
    """A killed process leaves a mark of some time ago, and anything behind it."""
    monkeypatch.setattr(row_store, "MARK_SECONDS", 0)
    fill(opened(tmp_path), until=6)
    partial = tmp_path / "out.npy.partial"
    kept = (partial / "finished").read_bytes()
    with opened(tmp_path) as output:
        output.append(np.full((2, 3), np.inf, np.float32), [("wrong", 1, "")] * 2)
    with open(partial / "index.tsv", "ab") as file:
        file.write(b"8\ttorn li")
    (partial / "finished").write_bytes(kept)
    output = opened(tmp_path)
    with output:
        assert output.done == 6
    fill(output)
    check_whole(tmp_path)


@pytest.mark.parametrize("step", range(5))
def test_killed_while_publishing(step, tmp_path, monkeypatch):
    """Nothing passes for whole until all is there; the next run gives the files their names."""
    fill(opened(tmp_path, about={"model": "former"}))
    calls = []

    def counted(function):
        def call(*arguments):
            calls.append(function)
            if len(calls) > step:
                raise SystemExit
            return function(*arguments)

        return call

    output = opened(tmp_path, overwrite=True)
    with output:
        output.append(ROWS, ENTRIES)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        output.publish()
        raise SystemExit  # where there are fewer steps
    again = opened(tmp_path)
    if (tmp_path / "out.npy").exists():
        assert again.whole
    else:
        assert not again.whole
        fill(again)
        check_whole(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), ROWS)


def test_others_are_refused(tmp_path):
    fill(opened(tmp_path, about={"model": "other"}), until=3)
    with pytest.raises(UserError, match=r"out.npy.partial: was begun with another model, source"):
        opened(tmp_path)
    with pytest.raises(UserError, match="was begun with another"):
        opened(tmp_path, shape=(11, 3))
    fill(opened(tmp_path, overwrite=True))
    check_whole(tmp_path)
    with pytest.raises(UserError, match=r"out.npy: exists, of another model, source or options: n"):
        opened(tmp_path, about={"model": "other"})
    (tmp_path / "out.json").unlink()
    with pytest.raises(UserError, match=r"out.npy: exists, of another"):
        opened(tmp_path)
    (tmp_path / "out.npy").unlink()
    with pytest.raises(UserError, match=r"out.index.tsv: exists and would be replaced"):
        opened(tmp_path)


def test_overwriting_goes_on_with_its_own_and_leaves_the_former_until_it_is_whole(tmp_path):
    fill(opened(tmp_path, about={"model": "former"}))
    before = (tmp_path / "out.npy").read_bytes()
    fill(opened(tmp_path, overwrite=True), until=6)
    assert (tmp_path / "out.npy").read_bytes() == before
    output = opened(tmp_path, overwrite=True)
    with output:
        assert output.done == 6
    fill(output)
    check_whole(tmp_path)
    again = opened(tmp_path, overwrite=True)
    assert not again.whole
    with again:
        assert again.done == 0


def test_two_processes_do_not_mix(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path)
    with (
        first,
        pytest.raises(UserError, match="another process is writing this output"),
        second,
    ):
        pass
    fill(opened(tmp_path))
    check_whole(tmp_path)


def test_odd_names_stay_in_one_line(tmp_path):
    odd = ["tab\there", "line\nbreak", "back\\slash", "\udcff not utf-8", "plain"]
    with EmbeddingOutput(tmp_path / "o.npy", shape=(5, 1), about={}) as output:
        entries = [(name, -1, "why\n" if name == "plain" else "") for name in odd]
        output.append(np.zeros((5, 1), np.float32), entries)
    output.publish()
    lines = (tmp_path / "o.index.tsv").read_bytes().split(b"\n")[1:-1]
    assert lines == [
        b"0\ttab\\there\t\t",
        b"1\tline\\nbreak\t\t",
        b"2\tback\\\\slash\t\t",
        b"3\t\xff not utf-8\t\t",
        b"4\tplain\t\twhy\\n",
    ]


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r"--out must end in .npy, got 'a.txt'"):
        EmbeddingOutput("a.txt", shape=(1, 1), about={})
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"out.npy: cannot be written: Not a directory"),
        opened(tmp_path / "file"),
    ):
        pass
