"""A file that fills up: what is there stays there, and nothing else passes for it."""

import multiprocessing

import numpy as np
import pytest

from plsc.errors import UserError
from plsc.recognition.ijb.embedding_file import EmbeddingFile

SHAPE = (19, 2, 3)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("plsc.recognition.ijb.embedding_file.CHUNK", 8)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def stamps():
    return np.random.default_rng(1).integers(0, 9, (SHAPE[0], 2))


def fill(folder, values, stamps, chunks):
    file = EmbeddingFile(folder, SHAPE, {"model": "m"})
    for chunk in chunks:
        rows = file.rows(chunk)
        file.write(chunk, values[rows.start : rows.stop], stamps)
    return file


def test_what_was_written_is_read_again(tmp_path, values, stamps):
    fill(tmp_path / "e", values, stamps, [2, 0])
    file = EmbeddingFile(tmp_path / "e", SHAPE, {})
    assert file.unfinished(stamps) == [1]
    np.testing.assert_array_equal(file[16:19], values[16:])
    np.testing.assert_array_equal(file[3:7], values[3:7])
    np.testing.assert_array_equal(file[16:99], values[16:])
    assert file[5:5].shape == (0, 2, 3)
    fill(tmp_path / "e", values, stamps, [1])
    np.testing.assert_array_equal(np.load(tmp_path / "e" / "embeddings.npy"), values)
    assert EmbeddingFile(tmp_path / "e", SHAPE, {}).unfinished(stamps) == []


def test_an_exchanged_image_makes_its_chunk_anew(tmp_path, values, stamps):
    file = fill(tmp_path / "e", values, stamps, [0, 1, 2])
    stamps[9, 1] += 1
    assert file.unfinished(stamps) == [1]


def test_damaged_bytes_make_their_chunk_anew(tmp_path, values, stamps):
    file = fill(tmp_path / "e", values, stamps, [0, 1, 2])
    path = tmp_path / "e" / "embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert file.unfinished(stamps) == [2]


def test_a_chunk_of_zeros_is_not_taken_for_written(tmp_path, values, stamps):
    file = fill(tmp_path / "e", 0 * values, 0 * stamps, [1])
    assert file.unfinished(0 * stamps) == [0, 2]


def test_a_folder_of_something_else_is_refused(tmp_path, values, stamps):
    fill(tmp_path / "e", values, stamps, [0])
    with pytest.raises(UserError, match=r"cannot be used: they are float32 \[19, 2, 3\] instead"):
        EmbeddingFile(tmp_path / "e", (19, 1, 3), {})
    path = tmp_path / "e" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="cannot be used: the file is cut short; remove"):
        EmbeddingFile(tmp_path / "e", SHAPE, {})
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="cannot be used: .*; remove the folder"):
        EmbeddingFile(tmp_path / "e", SHAPE, {})
    path.unlink()
    with pytest.raises(UserError, match="cannot be used: No such file"):
        EmbeddingFile(tmp_path / "e", SHAPE, {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/e"):
        EmbeddingFile(tmp_path / "file" / "e", SHAPE, {})


def test_two_processes_do_not_fill_one_file(tmp_path, values, stamps):
    file = fill(tmp_path / "e", values, stamps, [0])
    context = multiprocessing.get_context("fork")
    with file.filling():
        other = context.Process(target=_refused, args=(tmp_path / "e",))
        other.start()
        other.join()
        assert other.exitcode == 0
    with file.filling():
        pass


def _refused(folder):
    file = EmbeddingFile(folder, SHAPE, {})
    with pytest.raises(UserError, match="another process is filling it"), file.filling():
        pass
