"""Read what torch.save writes, without torch and without running what is in the file.

Today's format is a zip archive, all entries stored as they are: `<name>/data.pkl` is a pickle whose
persistent ids ("storage", type, key, device, number of elements) name raw storages,
`<name>/data/<key>`; `<name>/byteorder` says how their numbers lie. The format before torch 1.6 is
one stream: pickles of a magic number, a version, the writer's machine, the content and the list of
storage keys, then for each key its number of elements (8 bytes) and the storage, in little-endian
order on any machine.
"""

import mmap
import struct
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from plsc.errors import UserError, short
from plsc.files.mapped_file import map_file, regular
from plsc.files.pickled_arrays import MOST_EXTENT, Refused, as_text
from plsc.files.torch_tensors import NAMES, Storage, StorageType
from plsc.files.unpickle import load_part

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of torch's magic number
COUNT_BYTES = 8
ENCRYPTED = 1  # a flag of a zip entry
BAD_ZIP = (  # what zipfile raises over bytes that are no sound archive
    zipfile.BadZipFile,
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)


def is_torch_file(path: str | Path) -> bool:
    """Tell whether the file begins like one of torch.save."""
    with open(path, "rb", opener=regular) as file:
        start = file.read(len(LEGACY_MAGIC))
    return start.startswith((ZIP_MAGIC, LEGACY_MAGIC))


def load_torch(path: str | Path) -> Any:
    """Return what torch.save wrote: containers, text, numbers, and tensors as `TorchTensor`.

    Storages are read when a tensor's `array` is called. An OrderedDict arrives as dict; numpy
    arrays, which state dicts do not hold, stay inert stand-ins.

    Raises:
        UserError: missing, truncated, compressed or damaged file, or one that holds more than data
            and tensors; the message names the file and the reason.

    """
    data = map_file(path, "file")
    if data[: len(ZIP_MAGIC)] == ZIP_MAGIC:
        return _Archive(str(path)).content()
    if data[: len(LEGACY_MAGIC)] == LEGACY_MAGIC:
        return _Stream(str(path), data).content()
    raise UserError(f"{path}: not a file of torch.save")


class _TorchFile(ABC):
    """A pickle that refers to storages, as both formats have it."""

    def __init__(self, path: str):
        self.path, self.big_endian = path, False
        self.storages: dict[str, Storage] = {}

    def load(self, data: bytes | mmap.mmap, start: int) -> tuple[Any, int]:
        try:
            return load_part(data, start, self.path, stand_ins=NAMES, resolve=self._resolve)
        except UserError as error:
            if "it asks for" in str(error):
                raise UserError(f"{error}; plsc reads state dicts (module.state_dict())") from error
            raise

    @abstractmethod
    def read(self, key: str, num_bytes: int) -> bytes:
        """Return the first `num_bytes` of a storage, or more."""

    def _resolve(self, reference: Any) -> Storage:
        kind, type_, key, _, numel, *view = reference
        if as_text(kind) != "storage" or not isinstance(type_, StorageType):
            raise Refused("it refers to something that is not a storage")
        if (
            type(numel) is not int
            or not 0 <= numel <= MOST_EXTENT
            or any(item is not None for item in view)
        ):
            raise ValueError(f"a storage of {short(numel)} elements")
        key = as_text(key)
        storage = Storage(
            type_.name, numel, big_endian=self.big_endian, read=lambda size: self.read(key, size)
        )
        known = self.storages.setdefault(key, storage)
        if (known.type_name, known.numel) != (type_.name, numel):
            raise ValueError(f"storage {key} of two types or sizes")
        return known


class _Archive(_TorchFile):
    """The zip format. Only stored entries: what is small in the file cannot grow in memory."""

    def __init__(self, path: str):
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except BAD_ZIP as error:
            raise UserError(f"{path}: truncated or damaged: {error}") from error
        self._entries = {entry.filename: entry for entry in self._zip.infolist()}
        if any(name.endswith("/constants.pkl") for name in self._entries):
            raise UserError(f"{path}: a TorchScript program; plsc reads state dicts")
        for entry in self._entries.values():
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED:
                raise UserError(
                    f"{path}: refused: its entry {entry.filename!r} is compressed or encrypted, "
                    "which torch.save never does"
                )
        if sum(entry.file_size for entry in self._entries.values()) > Path(path).stat().st_size:
            raise UserError(f"{path}: damaged: its entries overlap")
        pickles = [name for name in self._entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{path}: a zip archive, but not one of torch.save (no data.pkl)")
        self._root = pickles[0].removesuffix("data.pkl")

    def content(self) -> Any:
        order = f"{self._root}byteorder"
        self.big_endian = order in self._entries and self._bytes(order) == b"big"
        content, _ = self.load(self._bytes(f"{self._root}data.pkl"), 0)
        return content

    def read(self, key: str, num_bytes: int) -> bytes:
        name = f"{self._root}data/{key}"
        if name not in self._entries:
            raise UserError(f"{self.path}: damaged: its storage {key} is missing")
        there = self._entries[name].file_size
        if there < num_bytes:
            raise UserError(
                f"{self.path}: damaged: its storage {key} has {there} bytes instead of {num_bytes}"
            )
        return self._bytes(name)

    def _bytes(self, name: str) -> bytes:
        try:
            return self._zip.read(self._entries[name])  # checks the CRC, too
        except BAD_ZIP as error:
            raise UserError(f"{self.path}: damaged: {name!r}: {error}") from error


class _Stream(_TorchFile):
    """The format before torch 1.6."""

    def __init__(self, path: str, data: mmap.mmap):
        super().__init__(path)
        self._data = data
        self._starts: dict[str, int] = {}

    def content(self) -> Any:
        position = len(LEGACY_MAGIC)
        parts = []
        for _ in ("version", "machine", "content", "keys"):
            part, position = self.load(self._data, position)
            parts.append(part)
        _, _, content, keys = parts
        if not isinstance(keys, list):
            raise UserError(f"{self.path}: damaged: not what torch.save writes")
        for key in map(as_text, keys):
            if key not in self.storages:
                raise UserError(f"{self.path}: damaged: nothing refers to storage {key!r}")
            self._starts[key] = position + COUNT_BYTES
            position += COUNT_BYTES + self.storages[key].num_bytes
        if position > len(self._data) or len(self._starts) != len(self.storages):
            raise UserError(
                f"{self.path}: truncated: its tensors need {position} bytes, the file has "
                f"{len(self._data)}"
            )
        return content

    def read(self, key: str, num_bytes: int) -> bytes:
        return self._data[self._starts[key] : self._starts[key] + num_bytes]
