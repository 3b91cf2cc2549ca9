"""Files of torch.save, written without torch, and networks of ours as torch has them."""

import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from io import BytesIO

import numpy as np
import pytest

STORAGES = {
    "f4": "FloatStorage",
    "f8": "DoubleStorage",
    "f2": "HalfStorage",
    "u2": "BFloat16Storage",  # numpy has none: these are the upper halves of float32
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
}
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def torch_names():
    """Modules with the names that a pickle of torch refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    torch.Size = type("Size", (tuple,), {"__module__": "torch"})
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    return {"torch": torch, "torch._utils": utils}


class Storage:
    """What a persistent id stands for."""

    def __init__(self, key, values):
        self.key, self.values = key, values


class TorchPickler(pickle.Pickler):
    """Writes each numpy array as torch writes a tensor: a view of a storage outside the pickle.

    Arrays that are views of one base array share its storage.
    """

    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol=protocol)
        self.storages, self.legacy, self.kept = {}, legacy, []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = getattr(sys.modules["torch"], STORAGES[obj.values.dtype.str[1:]])
        view = (None,) if self.legacy else ()
        return ("storage", kind, obj.key, "cpu", obj.values.size, *view)

    def reducer_override(self, obj):
        if not isinstance(obj, np.ndarray):
            return NotImplemented
        base = obj.base if isinstance(obj.base, np.ndarray) else obj
        assert base.flags.c_contiguous
        key = str(len(self.storages))
        storage = self.storages.setdefault(id(base), Storage(key, base.ravel()))
        self.kept.append(base)  # so that no id is used twice
        first = obj.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        strides = tuple(step // obj.itemsize for step in obj.strides)
        view = (storage, first // obj.itemsize, obj.shape, strides, False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, view


def write_torch(path, content, *, protocol=2, legacy=False, big_endian=False, compression=0):
    """`content` as torch.save writes it: a zip archive, or `legacy` the stream before 1.6."""
    order = ">" if big_endian else "<"

    def pickled(value):
        file = BytesIO()
        pickler = TorchPickler(file, protocol, legacy)
        pickler.dump(value)
        return file.getvalue(), pickler.storages.values()

    with pytest.MonkeyPatch.context() as patch:
        for name, module in torch_names().items():
            patch.setitem(sys.modules, name, module)
        data, storages = pickled(content)
    raw = {item.key: item.values.astype(item.values.dtype.newbyteorder(order)) for item in storages}
    if legacy:
        machine = {"protocol_version": LEGACY_VERSION, "little_endian": True}
        parts = [pickled(part)[0] for part in (LEGACY_MAGIC, LEGACY_VERSION, machine)]
        parts += [data, pickled(sorted(raw))[0]]
        for key in sorted(raw):
            parts += [struct.pack("<q", raw[key].size), raw[key].tobytes()]
        path.write_bytes(b"".join(parts))
        return path
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "big" if big_endian else "little")
        for key, values in raw.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def as_torch(net, prefix: str = "") -> dict[str, np.ndarray]:
    """Return a state dict as torch has it: by what each layer is, not by plsc's table of names."""
    from paddle import nn

    arrays = {}
    for path, layer in net.named_sublayers(include_self=True):
        place = f"{prefix}{path}." if path else prefix
        for name, tensor in layer.state_dict(include_sublayers=False).items():
            array = tensor.numpy()
            if isinstance(layer, nn.Linear) and name == "weight":
                array = np.ascontiguousarray(array.T)
            theirs = {"_mean": "running_mean", "_variance": "running_var"}.get(name, name)
            arrays[place + theirs.removeprefix("_")] = array
            if theirs == "running_var":
                arrays[place + "num_batches_tracked"] = np.array(40_000)
    return arrays
