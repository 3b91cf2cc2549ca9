"""Pairs of images of one person and of two, chosen from a set with classes."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from plsc.errors import UserError

FOLDS = 10  # of the verification protocol


def choose_pairs(labels: np.ndarray, num_pairs: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of pairs, int64 [P, 2], and whether each is of one person, bool [P].

    Same and different alternate, so that each of ten folds has as many of one as of the other. No
    pair occurs twice. Every identity and every image has its turn before another has its next, as
    far as the numbers of images allow. Depends on the arguments alone.

    Args:
        labels: int [n], the identity of each image.
        num_pairs: P, a multiple of 20.
        seed: for the order of identities and of an identity's images.

    Raises:
        UserError: `num_pairs` is no multiple of 20, or the set does not have as many pairs.

    """
    if num_pairs < 1 or num_pairs % (2 * FOLDS):
        raise UserError(
            f"num_pairs must be a multiple of {2 * FOLDS} ({FOLDS} folds, half of each one person, "
            f"half two), got {num_pairs}"
        )
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))
    rows = rows[np.argsort(labels[rows], kind="stable")]
    _, begins = np.unique(labels[rows], return_index=True)
    images = np.split(rows, begins[1:])  # of each identity, in random order
    order = rng.permutation(len(images))
    images = [images[identity] for identity in order.tolist()]
    half = num_pairs // 2
    same = np.array(list(islice(_same(images), half)), np.int64).reshape(-1, 2)
    different = np.array(list(islice(_different(images), half)), np.int64).reshape(-1, 2)
    for kind, found in (("one person", same), ("two persons", different)):
        if len(found) < half:
            raise UserError(
                f"num_pairs {num_pairs} needs {half} pairs of {kind}, {len(labels)} images of "
                f"{len(images)} identities have {len(found)}"
            )
    return np.stack([same, different], axis=1).reshape(-1, 2), np.arange(num_pairs) % 2 == 0


def tournament(size: int, turn: int) -> tuple[int, int, int]:
    """Return two of `size` players that meet in that turn of a round robin, and the round's number.

    Over the turns 0 to size · (size - 1) / 2 - 1 all meet once; in a round each plays once at most.
    """
    ring = size - 1 + size % 2  # an even number has one player in the ring's middle
    round_, place = divmod(turn, size // 2)
    if size % 2:
        place += 1
    elif not place:
        return round_, size - 1, round_
    return (round_ + place) % ring, (round_ - place) % ring, round_


def _same(images: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    left = images
    for turn in count():
        left = [own for own in left if turn < len(own) * (len(own) - 1) // 2]
        if not left:
            return
        for own in left:
            one, other, _ = tournament(len(own), turn)
            yield int(own[one]), int(own[other])


def _different(images: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Let identities meet round after round; once all have met, with other images."""
    meetings: Iterator[int] | list[int] = iter(range(len(images) * (len(images) - 1) // 2))
    for turn in count():
        again = []
        for meeting in meetings:
            one, other, round_ = tournament(len(images), meeting)
            left, right = images[one], images[other]
            # Over the turns every image of one meets every image of the other once; the round
            # moves both on, so that an identity does not show the same image in all its meetings.
            shift = turn // np.lcm(len(left), len(right))
            yield (
                int(left[(turn + round_) % len(left)]),
                int(right[(turn + shift + round_) % len(right)]),
            )
            if turn + 1 < len(left) * len(right):
                again.append(meeting)
        meetings = again
        if not again:
            return
