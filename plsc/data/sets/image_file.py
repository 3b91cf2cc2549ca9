"""Tell the format of an image file from its first bytes."""

SIGNATURES = {".jpg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n", ".bmp": b"BM"}
MOST_IMAGE_BYTES = 256 * 2**20  # as many as the most pixels take without compression
RIFF, WEBP = b"RIFF", b"WEBP"


def ending_of(image: bytes) -> str | None:
    """Return `.jpg`, `.png`, `.bmp` or `.webp`; None if it is none of these."""
    for ending, signature in SIGNATURES.items():
        if image.startswith(signature):
            return ending
    return ".webp" if image[:4] == RIFF and image[8:12] == WEBP else None
