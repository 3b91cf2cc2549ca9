"""Width and height that an image file claims, read from its head before anything is decoded."""

import struct
from collections.abc import Callable

JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of a frame
JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
MOST_MARKERS = 10_000  # before a JPEG's frame; cameras write a few dozen
JPEG2000_STREAM = b"\xff\x4f\xff\x51"  # its begin, and its size
MOST_FIELDS = 1000  # of a TIFF's head
TIFF_SIZES = {256, 257, 322, 323}  # width and height, of the image and of its tiles

Size = tuple[int, int]


def claimed_size(image: bytes) -> Size | None:
    """Return width and height; None where the file is none of the kinds that are known here.

    Raises:
        ValueError: it begins as such a file, and has no size where it should.

    """
    for signature, size_of in READERS:
        if image.startswith(signature):
            try:
                return size_of(image)
            except (struct.error, LookupError) as error:
                raise ValueError("its head is cut short") from error
    return None


def _jpeg(image: bytes) -> Size:
    place = 2
    for _ in range(MOST_MARKERS):
        # As libjpeg: anything may stand between two parts, and any number of FF before a marker.
        place = image.index(b"\xff", place)
        while image[place] == 0xFF:
            place += 1
        marker = image[place]
        if marker in JPEG_SIZES:
            height, width = struct.unpack_from(">HH", image, place + 4)
            return width, height
        place += 1
        if marker and marker not in JPEG_BARE:
            place += struct.unpack_from(">H", image, place)[0]
    raise ValueError(f"no size in its first {MOST_MARKERS} parts")


def _png(image: bytes) -> Size:
    width, height = struct.unpack_from(">II", image, 16)
    return width, height


def _gif(image: bytes) -> Size:
    width, height = struct.unpack_from("<HH", image, 6)
    return width, height


def _bmp(image: bytes) -> Size:
    if struct.unpack_from("<I", image, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", image, 18)
        return width, height
    width, height = struct.unpack_from("<ii", image, 18)
    return abs(width), abs(height)


def _webp(image: bytes) -> Size:
    kind = image[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", image, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", image, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(image[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    raise ValueError("no WebP image in it")


def _tiff(image: bytes) -> Size:
    """Return the larger of image and tile: a decoder makes room for both."""
    order = "<" if image[:2] == b"II" else ">"
    if image[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        (place,) = struct.unpack_from(f"{order}Q", image, 8)
        (count,) = struct.unpack_from(f"{order}Q", image, place)
        field, place = struct.Struct(f"{order}HHQ8s"), place + 8
    else:
        (place,) = struct.unpack_from(f"{order}I", image, 4)
        (count,) = struct.unpack_from(f"{order}H", image, place)
        field, place = struct.Struct(f"{order}HHI4s"), place + 2
    if count > MOST_FIELDS:
        raise ValueError(f"its head has {count} fields")
    sizes = dict.fromkeys(TIFF_SIZES, 0)
    for number in range(count):
        tag, kind, _, value = field.unpack_from(image, place + number * field.size)
        if tag in sizes:
            code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
            if code is None:
                raise ValueError("its size is no whole number")
            sizes[tag] = max(sizes[tag], struct.unpack_from(order + code, value)[0])
    return max(sizes[256], sizes[322]), max(sizes[257], sizes[323])


def _jpeg2000(image: bytes) -> Size:
    place = 0
    for _ in range(MOST_MARKERS):  # boxes; a file may be the code stream alone
        if image[place : place + 4] == JPEG2000_STREAM:
            break
        length, kind = struct.unpack_from(">I4s", image, place)
        head = 16 if length == 1 else 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", image, place + 8)
        if kind != b"jp2c" and length < head:
            raise ValueError("no image in it")
        place += head if kind == b"jp2c" else length
    else:
        raise ValueError("no image in it")
    width, height, left, top, *tile = struct.unpack_from(">IIIIII", image, place + 8)
    return max(width - left, 0), max(height - top, 0)


def _netpbm(image: bytes) -> Size:
    words: list[bytes] = []
    for line in image[:1024].split(b"\n"):
        words += line.partition(b"#")[0].split()
    if words[0] == b"P7":
        named = dict(zip(words[1::2], words[2::2], strict=False))
        return _whole(named[b"WIDTH"]), _whole(named[b"HEIGHT"])
    return _whole(words[1]), _whole(words[2])


def _whole(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 10:
        raise ValueError("its size is no whole number")
    return int(digits)


def _sun_raster(image: bytes) -> Size:
    width, height = struct.unpack_from(">II", image, 4)
    return width, height


READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Size]], ...] = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ((b"\0\0\0\x0cjP  ", JPEG2000_STREAM), _jpeg2000),
    (tuple(b"P%d" % number for number in range(1, 8)), _netpbm),
    (b"\x59\xa6\x6a\x95", _sun_raster),
    ((b"GIF87a", b"GIF89a"), _gif),
)
