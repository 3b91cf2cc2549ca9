"""Files of torch.save: what they hold comes back, and nothing in them runs or grows."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickles import Calls, damaged
from refusals import refused

from plsc.errors import UserError
from plsc.files.torch_file import is_torch_file, load_torch

RNG = np.random.default_rng(0)
BASE = RNG.normal(size=(6, 4)).astype(np.float32)
TENSORS = {
    "weight": RNG.normal(size=(3, 2, 3, 3)).astype(np.float32),
    "double": np.array([1.5, -2.0]),
    "half": np.array([0.5, 2.0], np.float16),
    "long": np.array(1234),
    "int": np.array([-5], np.int32),
    "short": np.array([7], np.int16),
    "char": np.array([-7], np.int8),
    "byte": np.array([255], np.uint8),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": BASE.T,
    "rows of the same storage": BASE[2:4],
    "a column of it": BASE[:, 1],
}
FORMATS = [dict(protocol=2), dict(protocol=4), dict(legacy=True), dict(big_endian=True)]


def unreadable(path, *words):
    """Check the line that reading `path`, and every tensor of it, is refused with."""
    text = refused(lambda: [value.array() for value in load_torch(path).values()], path, *words)
    assert len(text) < 400


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_tensors_come_back(tmp_path, write_torch, form):
    path = write_torch(tmp_path / "a.pth", TENSORS, **form)
    assert is_torch_file(path)
    found = load_torch(path)
    assert list(found) == list(TENSORS)
    for name, expected in TENSORS.items():
        array = found[name].array()
        assert found[name].shape == expected.shape
        assert array.dtype == expected.dtype and array.dtype.isnative
        np.testing.assert_array_equal(array, expected)
        assert not array.flags.writeable


def test_bfloat16_is_widened(tmp_path, write_torch):
    values = np.array([1.0, -0.15625, 3e38, 0.0], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    for form in FORMATS:
        found = load_torch(write_torch(tmp_path / "a.pth", {"a": halves}, **form))["a"].array()
        np.testing.assert_array_equal(
            found.view(np.uint32), values.view(np.uint32) & 0xFFFF0000, strict=True
        )


def test_what_surrounds_tensors(tmp_path, write_torch):
    """A state dict's own attribute, numbers, text, and containers in containers."""
    state = OrderedDict(weight=BASE)
    state._metadata = OrderedDict({"": {"version": 1}})
    content = {"epoch": 3, "arch": "iresnet18", "state_dict": state, "lr": [0.1, (None, True)]}
    found = load_torch(write_torch(tmp_path / "a.pth", content))
    assert (found["epoch"], found["arch"], found["lr"]) == (3, "iresnet18", [0.1, (None, True)])
    np.testing.assert_array_equal(found["state_dict"]["weight"].array(), BASE)


def test_a_storage_is_read_when_it_is_asked_for(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pth", {"a": BASE, "b": np.ones(2, np.float32)})
    damage(path, BASE.tobytes())
    found = load_torch(path)
    np.testing.assert_array_equal(found["b"].array(), [1, 1])
    with pytest.raises(UserError, match=r"a\.pth: damaged: 'archive/data/0': Bad CRC-32"):
        found["a"].array()


def damage(path, part):
    """Change one byte in the middle of `part` of the file."""
    data = bytearray(path.read_bytes())
    data[data.index(part) + len(part) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("form", [dict(), dict(legacy=True)], ids=str)
@pytest.mark.parametrize("function", [os.system, eval, open, Path.touch])
def test_nothing_is_executed(tmp_path, write_torch, form, function):
    mark = tmp_path / "executed"
    arguments = {
        os.system: [f"touch {mark}"],
        eval: [f"open({str(mark)!r}, 'w')"],
        open: [str(mark), "w"],
    }.get(function, [mark])
    path = write_torch(tmp_path / "evil.pth", {"a": Calls(function, *arguments)}, **form)
    unreadable(path, "refused: it asks for", "state dicts")
    assert not mark.exists()


def test_a_whole_module_is_told_from_a_state_dict(tmp_path, write_torch):
    path = write_torch(tmp_path / "net.pth", {"a": Calls(zipfile.ZipInfo)})
    unreadable(path, "zipfile.ZipInfo", "plsc reads state dicts (module.state_dict())")


# Operations that rebuild a tensor of a storage of 24 floats; %s is offset, shape and strides.
HEAD = b"\x80\x02}U\x01a"
STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x18tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("
SOUND = b"K\x00K\x06K\x04\x86K\x04K\x01\x86\x89}"
BAD_TENSORS = {
    "offset beyond": SOUND.replace(b"K\x00", b"K\x01", 1),
    "offset far beyond": SOUND.replace(b"K\x00", b"J\xff\xff\xff\x7f", 1),
    "more rows": SOUND.replace(b"K\x06", b"K\x07"),
    "larger stride": SOUND.replace(b"K\x04K\x01\x86", b"K\x05K\x01\x86"),
    "stride 0, expanded without end": SOUND.replace(
        b"K\x06K\x04\x86", b"J\xff\xff\xff\x7fK\x04\x86"
    ).replace(b"K\x04K\x01\x86", b"K\x00K\x00\x86"),
    "negative stride": SOUND.replace(b"K\x04K\x01\x86", b"K\x04J\xff\xff\xff\xff\x86"),
    "negative offset": SOUND.replace(b"K\x00", b"J\xff\xff\xff\xff", 1),
    "negative shape": SOUND.replace(b"K\x06", b"J\xff\xff\xff\xff"),
    "numbers of any size": SOUND.replace(b"K\x06", b"\x8a\x0a" + b"\xff" * 9 + b"\x7f"),
    "a shape of another rank": SOUND.replace(b"K\x06K\x04\x86", b"K\x06\x85"),
    "shape of floats": SOUND.replace(b"K\x06", b"G\x40\x18\x00\x00\x00\x00\x00\x00"),
    "shape of truths": SOUND.replace(b"K\x06", b"\x88"),
    "shape is text": SOUND.replace(b"K\x06K\x04\x86", b"U\x0264"),
    "shape is a number": SOUND.replace(b"K\x06K\x04\x86", b"K\x06"),
    "sixty-four dimensions": SOUND.replace(
        b"K\x06K\x04\x86K\x04K\x01\x86", (b"(" + b"K\x01" * 64 + b"t") * 2
    ),
}
BAD_PICKLES = {
    "its stand-in altered": HEAD + REBUILD[:-1] + b"}U\x01xK\x01sbs.",
    "a storage type altered": HEAD + b"ctorch\nFloatStorage\nN}U\x04nameU\x03Foos\x86bs.",
    "a tensor altered": HEAD + REBUILD + STORAGE + SOUND + b"tR}bs.",
    "a storage altered": HEAD + STORAGE + b"N}U\x05numelK\x7fs\x86bs.",
    "a tensor of a number": HEAD + REBUILD + b"K\x07" + SOUND + b"tRs.",
    "a tensor as a key": b"\x80\x02}" + REBUILD + STORAGE + SOUND + b"tRK\x01s.",
    "a type called": HEAD + b"ctorch\nFloatStorage\n)Rs.",
    "a type made": HEAD + b"ctorch\nFloatStorage\n)\x81s.",
    "a reference to a file": HEAD + b"U\x0b/etc/passwdQs.",
    "a reference to something else": HEAD + STORAGE.replace(b"storage", b"package") + b"s.",
    "a storage of another kind": HEAD + STORAGE.replace(b"FloatStorage", b"UntypedStorage") + b"s.",
    "a storage of less than nothing": HEAD
    + STORAGE.replace(b"K\x18", b"J\xff\xff\xff\xff")
    + b"s.",
    "a storage of two sizes": HEAD + STORAGE + b"0" + STORAGE.replace(b"K\x18", b"K\x08") + b"s.",
    "a view of a storage": HEAD + STORAGE.replace(b"tQ", b"K\x01K\x00K\x01\x87tQ") + b"s.",
    "text for a persistent id": b"\x80\x02Pid\n.",
    "an object of a class": b"\x80\x02(S'x'\nios\nsystem\n.",
    "the end missing": HEAD + REBUILD,
    "an unknown operation": b"\x80\x02\xff.",
    "nothing": b"",
}


def with_pickle(path, data, storage=None):
    storage = BASE.tobytes() if storage is None else storage
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", storage)
    return path


def test_the_pickles_below_are_sound_but_for_their_fault(tmp_path):
    data = HEAD + REBUILD + STORAGE + SOUND + b"tRs."
    found = load_torch(with_pickle(tmp_path / "a.pth", data))
    (tensor,) = found.values()
    np.testing.assert_array_equal(tensor.array(), BASE)


@pytest.mark.parametrize("fault", BAD_TENSORS)
def test_tensors_stay_inside_their_storage(tmp_path, fault):
    data = HEAD + REBUILD + STORAGE + BAD_TENSORS[fault] + b"tRs."
    unreadable(with_pickle(tmp_path / "a.pth", data))


@pytest.mark.parametrize("fault", BAD_PICKLES)
def test_bad_pickles_end_in_one_line(tmp_path, fault):
    path = with_pickle(tmp_path / "a.pth", BAD_PICKLES[fault])
    refused(lambda: load_torch(path), "a.pth")
    sound = HEAD + REBUILD + STORAGE + SOUND + b"tRs."  # reads as before: nothing was altered
    (tensor,) = load_torch(with_pickle(path, sound)).values()
    np.testing.assert_array_equal(tensor.array(), BASE)


def test_a_zip_bomb_is_refused_before_it_is_opened(tmp_path, write_torch):
    zeros = np.zeros(5_000_000, np.float32)
    path = write_torch(tmp_path / "bomb.pth", {"a": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    unreadable(path, "refused", "compressed or encrypted")


def test_an_encrypted_entry_is_refused(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pth", {"a": BASE})
    data = bytearray(path.read_bytes())
    flags = data.index(b"PK\x01\x02") + 8  # of the first entry in the directory
    data[flags] |= 1
    path.write_bytes(data)
    unreadable(path, "'archive/data.pkl' is compressed or encrypted")


def test_entries_that_share_bytes_are_refused(tmp_path, write_torch):
    """Two names in the directory for the same bytes: memory would grow with the names."""
    path = write_torch(tmp_path / "a.pth", {"a": np.arange(4096, dtype=np.float32)})
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("archive/data/0")
        twin = zipfile.ZipInfo("archive/data/1")
        for name in ("CRC", "file_size", "compress_size", "header_offset"):
            setattr(twin, name, getattr(entry, name))
        archive.filelist.append(twin)
        archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    unreadable(path, "overlap")


def test_storages_that_are_missing_or_short(tmp_path):
    data = HEAD + REBUILD + STORAGE + SOUND + b"tRs."
    unreadable(with_pickle(tmp_path / "a.pth", data, b"\0" * 95), "95 bytes instead of 96")
    missing = data.replace(b"U\x010U\x03cpu", b"U\x017U\x03cpu")
    unreadable(with_pickle(tmp_path / "a.pth", missing), "storage 7 is missing")


def test_other_archives(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    unreadable(path, "not one of torch.save")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", HEAD)
        archive.writestr("net/constants.pkl", HEAD)
    unreadable(path, "TorchScript")


def test_other_files(tmp_path):
    path = tmp_path / "a.pth"
    for data in (b"text", pickle.dumps({}), b"PK\x03\x04", b"\x80\x02\x8a\x0a"):
        path.write_bytes(data)
        assert is_torch_file(path) == (data == b"PK\x03\x04")
        unreadable(path)
    path.write_bytes(b"")
    unreadable(path, "empty")
    unreadable(tmp_path / "nowhere.pth", "No such file")


@pytest.mark.parametrize("legacy", [False, True])
def test_every_truncation_is_refused(tmp_path, write_torch, legacy):
    whole = write_torch(tmp_path / "a.pth", {"a": BASE[0]}, legacy=legacy).read_bytes()
    path = tmp_path / "cut.pth"
    for size in {*range(0, len(whole), 5), len(whole) - 1}:
        path.write_bytes(whole[:size])
        unreadable(path)
    unreadable(path, "truncated")


def test_stream_whose_keys_are_not_its_storages(tmp_path, write_torch):
    path = write_torch(tmp_path / "a.pth", {"a": BASE}, legacy=True)
    keys = b"]q\x00X\x01\x00\x00\x000"
    data = path.read_bytes()
    assert data.count(keys) == 1
    path.write_bytes(data.replace(keys, keys[:-1] + b"1"))
    unreadable(path, "nothing refers to storage '1'")


@pytest.fixture(scope="module")
def small_files(tmp_path_factory, write_torch):
    folder = tmp_path_factory.mktemp("files")
    content = {"a": BASE[:2, :2], "n": [1, "text"]}
    files = [write_torch(folder / f"{form}.pth", content, **form) for form in FORMATS[1:4]]
    return [path.read_bytes() for path in files], folder / "damaged.pth"


@given(st.data())
def test_damaged_files_give_data_or_a_user_error(small_files, drawn):
    originals, path = small_files
    data = drawn.draw(damaged(originals))
    Path(path).write_bytes(data)
    try:
        content = load_torch(path)
        for value in content.values() if isinstance(content, dict) else ():
            if hasattr(value, "array"):
                assert value.array().nbytes <= len(data)
    except UserError as error:
        assert "\n" not in str(error)
