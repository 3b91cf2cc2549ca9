"""The contact sheet: its size, its order, what is taken of many images."""

import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.quality.sheet import (
    CELL,
    COLUMNS,
    GAP,
    HEAD,
    MARGIN,
    MOST,
    Face,
    colour_of,
    require_sheet,
    sampled,
    write_quality_sheet,
)


@given(st.integers(1, 5000), st.integers(2, 80))
def test_the_sample_is_even_and_has_both_ends(count, most):
    places = sampled(count, most)
    assert len(places) == min(count, most)
    assert (places[0], places[-1]) == (0, count - 1)
    steps = np.diff(places)
    assert not len(steps) or (steps.min() >= 1 and np.ptp(steps) <= 1)


@pytest.mark.parametrize("count", [1, 5, 23, MOST])
@pytest.mark.parametrize("scored", [True, False])
def test_pictures_stand_in_their_order(count, scored, tmp_path):
    greys = np.linspace(60, 250, count).astype(np.uint8)
    faces = [
        Face(
            np.dstack([np.full((112, 96), grey)] * 3).astype(np.uint8),
            float(grey),
            100 * number / max(count - 1, 1) if scored else None,
            "a/very/long/path/to/a/picture/é\n.png",
        )
        for number, grey in enumerate(greys)
    ]
    path = tmp_path / "sheet.png"
    write_quality_sheet(path, faces, title="title", note="note")
    sheet = cv2.imread(str(path))
    columns = (sheet.shape[1] - 2 * MARGIN + GAP) // (CELL + GAP)
    rows = -(-count // columns)
    height = (sheet.shape[0] - 2 * MARGIN - HEAD + GAP) // rows
    assert columns == COLUMNS if count == MOST else 4 <= columns <= COLUMNS
    for number, grey in enumerate(greys):
        row, column = divmod(number, columns)
        top, left = MARGIN + HEAD + row * height, MARGIN + column * (CELL + GAP)
        assert (sheet[top + CELL // 2, left + CELL // 2] == grey).all()
        assert (sheet[top + CELL // 2, left + 2] != grey).any()  # narrower than the cell
        words = sheet[top + CELL + 8 : top + height - GAP, left : left + CELL]
        assert words.max() > 200  # the magnitude
        assert (words[:20, CELL // 2 :].max() > 200) == scored


def test_colours_are_the_pictures_own(tmp_path):
    face = Face(np.full((112, 112, 3), (200, 100, 50), np.uint8), 1.0, 50.0, "x")
    write_quality_sheet(tmp_path / "s.png", [face], title="", note="")
    sheet = cv2.imread(str(tmp_path / "s.png"))
    assert sheet[MARGIN + HEAD + 60, MARGIN + 60].tolist() == [50, 100, 200]


def test_bars_are_coloured_by_score():
    blues = [colour_of(score)[0] for score in (0, 25, 50, 75, 100)]
    assert blues == sorted(blues) and len({colour_of(score) for score in range(101)}) > 90


def test_a_sheet_is_known_again(tmp_path):
    """Every chunk of the PNG is whole, and one says what made it; another's picture has none."""
    face = Face(np.zeros((112, 112, 3), np.uint8), 1.0, None, "a.png")
    write_quality_sheet(tmp_path / "s.png", [face], title="t", note="n")
    content, place, chunks = (tmp_path / "s.png").read_bytes(), 8, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        crc = content[place + 8 + length : place + 12 + length]
        assert int.from_bytes(crc, "big") == zlib.crc32(body)
        chunks.append(body)
        place += 12 + length
    assert place == len(content) and (chunks[0][:4], chunks[-1]) == (b"IHDR", b"IEND")
    assert b"tEXtSoftware\0plsc-quality" in chunks
    require_sheet(tmp_path / "s.png")
    require_sheet(tmp_path / "new.png")
    cv2.imwrite(str(tmp_path / "s.png"), cv2.imread(str(tmp_path / "s.png")))
    with pytest.raises(UserError, match="s.png: exists and is not a sheet of plsc-quality"):
        require_sheet(tmp_path / "s.png")
