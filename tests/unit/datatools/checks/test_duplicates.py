import collections

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plsc.datatools.checks.duplicates import DIGEST_BYTES, digest, equal_rows

# Few different bytes at few places, so that halves are equal where digests are not.
BYTE, SAME = st.sampled_from([0, 1, 16]), st.just(5)
DIGESTS = st.lists(
    st.tuples(*[BYTE if place in (0, 7, 9) else SAME for place in range(DIGEST_BYTES)]), max_size=60
)


@given(DIGESTS, st.randoms(use_true_random=False))
def test_groups_are_those_of_a_dictionary(rows, random):
    looked_at = [random.random() < 0.8 for _ in rows]
    expected = collections.defaultdict(list)
    for number, row in enumerate(rows):
        if looked_at[number]:
            expected[row].append(number)
    digests = np.array(rows, np.uint8).reshape(-1, DIGEST_BYTES)
    groups = [group.tolist() for group in equal_rows(digests, np.array(looked_at, bool))]
    assert sorted(groups) == sorted(group for group in expected.values() if len(group) > 1)


def test_digests_differ_as_pixels_and_shapes_do():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    other = pixels.copy()
    other[3, 5, 2] ^= 1
    images = [pixels, other, pixels.reshape(6, 4, 3), pixels[:, ::-1], pixels[::-1]]
    assert len({digest(image).tobytes() for image in images}) == len(images)
    assert np.array_equal(digest(pixels), digest(pixels.copy()))
    assert digest(pixels).shape == (DIGEST_BYTES,) and digest(pixels).dtype == np.uint8
