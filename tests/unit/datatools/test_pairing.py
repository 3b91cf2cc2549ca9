import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.datatools.pairing import choose_pairs, tournament
from plsc.errors import UserError


@pytest.mark.parametrize("size", range(2, 12))
def test_in_a_tournament_all_meet_once_and_play_once_a_round(size):
    meetings = [tournament(size, turn) for turn in range(size * (size - 1) // 2)]
    pairs = [frozenset(meeting[:2]) for meeting in meetings]
    assert set(pairs) == {frozenset(pair) for pair in itertools.combinations(range(size), 2)}
    for _, meetings_of_round in itertools.groupby(meetings, key=lambda meeting: meeting[2]):
        players = [player for meeting in meetings_of_round for player in meeting[:2]]
        assert len(set(players)) == len(players) == size - size % 2


SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=12)


@given(SIZES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_pairs_are_balanced_and_none_occurs_twice(sizes, seed, random):
    labels = [3 * identity for identity, size in enumerate(sizes) for _ in range(size)]
    random.shuffle(labels)
    labels = np.array(labels)
    num_same = sum(size * (size - 1) // 2 for size in sizes)
    num_different = len(labels) * (len(labels) - 1) // 2 - num_same
    most = min(num_same, num_different) // 10 * 20
    if most:
        pairs, issame = choose_pairs(labels, most, seed=seed)  # as many as there are
        assert (
            pairs.shape == (most, 2) and len({frozenset(pair) for pair in pairs.tolist()}) == most
        )
        assert np.array_equal(labels[pairs[:, 0]] == labels[pairs[:, 1]], issame)
        assert (issame.reshape(10, -1).sum(axis=1) == most // 20).all()
        again, _ = choose_pairs(labels, most, seed=seed)
        assert np.array_equal(pairs, again)
    kind = "one person" if num_same <= num_different else "two persons"
    if num_same // 10 != num_different // 10:  # else it is up to the other kind, too
        with pytest.raises(UserError, match=f"{most + 20} needs {most // 2 + 10} pairs of {kind}"):
            choose_pairs(labels, most + 20, seed=seed)


def test_identities_and_images_have_their_turns():
    labels = np.repeat(np.arange(50), 4)
    pairs, issame = choose_pairs(labels, 100, seed=0)
    for kind in (True, False):
        uses = np.bincount(labels[pairs[issame == kind]].reshape(-1), minlength=50)
        assert (uses == 2).all()  # 50 pairs over 50 identities
        assert len(np.unique(pairs[issame == kind])) == 100  # no image twice
    pairs, issame = choose_pairs(labels, 200, seed=0)
    same = pairs[issame]
    assert (np.bincount(same.reshape(-1), minlength=200) == 1).all()
    other, _ = choose_pairs(labels, 200, seed=1)
    assert not np.array_equal(pairs, other)


@pytest.mark.parametrize("number", [0, -20, 10, 6001])
def test_folds_cannot_be_balanced(number):
    with pytest.raises(UserError, match=f"multiple of 20 .* got {number}"):
        choose_pairs(np.repeat(np.arange(50), 4), number, seed=0)


def test_a_set_of_one_person_has_no_pairs_of_two():
    with pytest.raises(UserError, match="needs 10 pairs of two persons, 30 images of 1 identities"):
        choose_pairs(np.zeros(30, int), 20, seed=0)
    with pytest.raises(UserError, match="needs 10 pairs of one person"):
        choose_pairs(np.arange(30), 20, seed=0)


def test_large_sets_take_no_longer_than_their_labels():
    labels = np.repeat(np.arange(100_000), 3)
    pairs, issame = choose_pairs(labels, 6000, seed=0)
    assert len(np.unique(labels[pairs[~issame]])) == 6000
