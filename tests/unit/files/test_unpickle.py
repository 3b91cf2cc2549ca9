import collections
import io
import pickle
import pickletools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickles import Calls, damaged

from plsc.errors import UserError
from plsc.files.unpickle import load_arrays

CONTENT = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.array([1.5, -2.0], ">f8"),
    "half": np.array([0.5], np.float16),
    "bool": np.array([True, False]),
    "scalars": [np.float32(0.1), np.bool_(True), np.int64(-3), np.void(b"\xff\xd8")],
    "no dimension": np.array(3.0),
    "empty": np.zeros((0, 3), np.int32),
    "text": np.array(["a", "long"]),
    "plain": [1, 2.5, None, True, "é", b"\x00\xff", (1, (2, [3])), {"k": {"n": 2**70}}],
    "mutable": [bytearray(b"12"), {1, 2}, collections.OrderedDict(a=1)],
}


def same(left, right):
    if isinstance(right, np.ndarray | np.generic):
        native = right.dtype.newbyteorder("=")
        return type(left) is type(right) and left.dtype == native and np.array_equal(left, right)
    if isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in right)
    if isinstance(right, list | tuple):
        pairs = zip(left, right, strict=True) if len(left) == len(right) else [(0, 1)]
        return type(left) is type(right) and all(same(*pair) for pair in pairs)
    return left == right


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_come_back_unchanged(tmp_path, protocol):
    path = tmp_path / "a.pdparams"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    assert same(load_arrays(path), CONTENT)
    assert same(load_arrays(io.BytesIO(path.read_bytes())), CONTENT)


def test_older_numpy_module_name():
    data = pickle.dumps(CONTENT["weight"], protocol=2)
    assert b"cnumpy._core.multiarray\n" in data
    older = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert same(load_arrays(io.BytesIO(older)), CONTENT["weight"])


def test_python_2_text_is_bytes():
    """What Python 2's pickle.dumps(([b'\\xff\\xd8'], [True]), 2) wrote."""
    assert load_arrays(io.BytesIO(b"\x80\x02]U\x02\xff\xd8a]\x88a\x86.")) == ([b"\xff\xd8"], [True])


def test_python_2_array():
    """An array as Python 2 wrote it: its dtype and its content are byte strings."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tb."
    )
    assert same(load_arrays(io.BytesIO(data)), np.array([1, 2], np.float32))


def test_state_dict_of_paddle_save(tmp_path):
    paddle = pytest.importorskip("paddle")
    layer = paddle.nn.Linear(2, 3)
    paddle.save(layer.state_dict(), str(tmp_path / "a.pdparams"))
    loaded = load_arrays(tmp_path / "a.pdparams")
    assert set(loaded) == {"weight", "bias", "StructuredToParameterName@@"}
    assert same(loaded["weight"], layer.weight.numpy())
    paddle.save({"nested": [layer.weight]}, str(tmp_path / "b.pdparams"))
    name, array = load_arrays(tmp_path / "b.pdparams")["nested"][0]
    assert name == layer.weight.name and same(array, layer.weight.numpy())


def test_real_verification_file(real_faces):
    images, issame = load_arrays(real_faces / "orl_test.bin")
    assert (len(images), len(issame)) == (1200, 600)
    assert all(image[:2] == b"\xff\xd8" for image in images)


def test_shared_and_self_containing_containers():
    nested = [np.ones(2)]
    for _ in range(12):  # fewer repeated values than the bound
        nested = [nested, nested]
    loaded = load_arrays(io.BytesIO(pickle.dumps(nested)))
    assert loaded[0] is loaded[1]
    for _ in range(88):  # 2^100 leaves when each is visited anew
        nested = [nested, nested]
    with pytest.raises(UserError, match="its references repeat more than 1000000 values"):
        load_arrays(io.BytesIO(pickle.dumps(nested)))
    loop = []
    loop.append(loop)
    loaded = load_arrays(io.BytesIO(pickle.dumps(loop)))
    assert loaded[0] is loaded


def global_(module, name):
    return (
        pickle.SHORT_BINUNICODE
        + bytes([len(module)])
        + module.encode()
        + (pickle.SHORT_BINUNICODE + bytes([len(name)]) + name.encode() + pickle.STACK_GLOBAL)
    )


RECONSTRUCT = global_("numpy.core.multiarray", "_reconstruct")
NDARRAY = global_("numpy", "ndarray")
DTYPE = global_("numpy", "dtype")
ENCODE = global_("_codecs", "encode")
EMPTY_ARRAY = RECONSTRUCT + NDARRAY + b"K\x00\x85C\x01b\x87R"
FLOAT32 = DTYPE + b"\x8c\x02f4\x89\x88\x87R"
# State of dtype("O"), but with the flags of plain data: numpy's own __setstate__ takes the eight
# bytes that follow for a pointer.
FORGED = DTYPE + b"\x8c\x02O8\x89\x88\x87R(K\x03\x8c\x01|NNNK\x08K\x08K\x00tb"
ATTACKS = {
    "os.system": lambda mark: pickle.dumps(Calls(__import__("os").system, f"touch {mark}")),
    "eval": lambda mark: pickle.dumps(Calls(eval, f"open({str(mark)!r}, 'w')")),
    "exec, protocol 0": lambda mark: pickle.dumps(Calls(exec, f"open({str(mark)!r}, 'w')"), 0),
    "open": lambda mark: pickle.dumps(Calls(open, str(mark), "w")),
    "nested in a tuple that is called": lambda mark: pickle.dumps(
        Calls(tuple, [Calls(Path.touch, mark)])
    ),
    "nested in an array": lambda mark: (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01" + pickle.dumps(Calls(Path.touch, mark), 4)[11:-1]
    ),
    "object array": lambda mark: pickle.dumps(np.array([Calls(Path.touch, mark)], object)),
    "array of objects, protocol 0": lambda mark: pickle.dumps(np.array([None], object), 0),
    "getattr": lambda mark: b"\x80\x04" + global_("builtins", "getattr") + b".",
    "attribute of an allowed name": lambda mark: b"\x80\x04" + global_("numpy", "load") + b".",
    "dotted name": lambda mark: b"\x80\x04" + global_("numpy", "ndarray.tofile") + b".",
    "import with an effect": lambda mark: b"\x80\x04" + global_("this", "s") + b".",
    "old-style class": lambda mark: b"(cos\nsystem\no.",
    "INST": lambda mark: b"(S'touch x'\nios\nsystem\n.",
    "persistent id": lambda mark: b"Pid\n.",
    "extension registry": lambda mark: b"\x80\x02\x82\x01.",
    "reconstruct something else": lambda mark: (
        b"\x80\x04" + RECONSTRUCT + DTYPE + b"K\x00\x85C\x01b\x87R."
    ),
    "call ndarray": lambda mark: b"\x80\x04" + NDARRAY + b"(K\x02\x85tR.",
    "new ndarray": lambda mark: b"\x80\x04" + NDARRAY + b")\x81.",
    "forged dtype": lambda mark: (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01K\x01\x85" + FORGED + b"\x89C\x08AAAAAAAAtb."
    ),
    "structured dtype": lambda mark: pickle.dumps(np.zeros(1, [("a", "f4")])),
    "structured dtype of objects": lambda mark: pickle.dumps(np.zeros(1, [("a", "O")])),
    "many elements of no bytes": lambda mark: (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01J\x00\x00\x00\x40\x85" + FLOAT32 + b"\x89C\x00tb."
    ),
    "scalar with more bytes": lambda mark: (
        b"\x80\x04" + global_("numpy.core.multiarray", "scalar") + FLOAT32 + b"C\x08AAAAAAAA\x86R."
    ),
    "more elements than bytes": lambda mark: (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01J\x00\x00\x00\x40\x85" + FLOAT32 + b"\x89C\x04AAAAtb."
    ),
    "negative extents": lambda mark: (
        b"\x80\x04"
        + EMPTY_ARRAY
        + b"(K\x01J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"
        + FLOAT32
        + b"\x89C\x04AAAAtb."
    ),
    "array without content": lambda mark: b"\x80\x04" + EMPTY_ARRAY + b".",
    "alter an allowed function": lambda mark: (
        b"\x80\x04" + ENCODE + b"N}\x8c\x0c__defaults__)s\x86b."
    ),
    "other codec": lambda mark: b"\x80\x04" + ENCODE + b"\x8c\x01a\x8c\x05rot13\x86R.",
    "a function in place of data": lambda mark: b"\x80\x04" + ENCODE + b".",
    "a function as a key": lambda mark: b"\x80\x04}" + ENCODE + b"K\x01s.",
    "huge bytearray": lambda mark: (
        b"\x80\x04" + global_("builtins", "bytearray") + b"J\x00\x00\x00\x10\x85R."
    ),
    "huge memo index": lambda mark: b"\x80\x02Nr\x00\x00\x00\x01.",
    "huge memo index, protocol 0": lambda mark: b"Np16777216\n.",
    "endless decimal number": lambda mark: b"L" + b"9" * 100_000 + b"L\n.",
    "deep": lambda mark: b"\x80\x04N" + b"\x85" * 100_000 + b".",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_executed(tmp_path, attack):
    mark = tmp_path / "executed"
    path = tmp_path / "evil.bin"
    path.write_bytes(ATTACKS[attack](mark))
    with pytest.raises(UserError, match="evil.bin") as caught:
        load_arrays(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    assert "this" not in sys.modules
    assert same(load_arrays(io.BytesIO(pickle.dumps(CONTENT, 2))), CONTENT)  # none was altered


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_truncation_is_named_with_its_offset(tmp_path, protocol):
    whole = pickle.dumps({"weight": np.arange(3.0), "n": 1}, protocol=protocol)
    path = tmp_path / "cut.pdparams"
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=rf"cut\.pdparams: truncated.*\b{size}\b"):
            load_arrays(path)


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "empty.bin").touch()
    with pytest.raises(UserError, match=r"empty\.bin: the file is empty"):
        load_arrays(tmp_path / "empty.bin")
    with pytest.raises(UserError, match=r"absent\.bin: .*No such file"):
        load_arrays(tmp_path / "absent.bin")


@given(st.binary(max_size=60))
def test_arbitrary_bytes_give_data_or_a_user_error(data):
    try:
        load_arrays(io.BytesIO(data))
    except UserError as error:
        assert "\n" not in str(error)


SEED = pickle.dumps([CONTENT["weight"], CONTENT["scalars"], "text", b"bytes"], protocol=2)
OPERATIONS = [item.code.encode("latin-1") for item in pickletools.opcodes]


@given(damaged([SEED], st.one_of(st.binary(max_size=4), st.sampled_from(OPERATIONS))))
def test_damaged_pickles_give_data_or_a_user_error(data):
    try:
        load_arrays(io.BytesIO(data))
    except UserError as error:
        assert "\n" not in str(error)
