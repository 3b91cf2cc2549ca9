"""Embeddings of pairs, and the protocol over folds in plain loops."""

from collections.abc import Callable

import numpy as np


def clustered(num_pairs, *, noise, seed, dim=6, shift=0.0, lengths=(0.5, 20.0)):
    """Embeddings [2P, d] around `shift`, of any length, and issame [P], both kinds mixed."""
    rng = np.random.default_rng(seed)
    issame = rng.permutation(np.arange(num_pairs) % 2 == 0)
    first = rng.standard_normal((num_pairs, dim))
    other = np.where(issame[:, None], first, rng.standard_normal((num_pairs, dim)))
    second = other + noise * rng.standard_normal((num_pairs, dim))
    rows = np.stack([first, second], axis=1).reshape(2 * num_pairs, dim) + shift
    return rows * rng.uniform(*lengths, (2 * num_pairs, 1)), issame


def at_angles(degrees, first):
    """Unit vectors [2P, 2] of pairs that lie `degrees` apart, the first at the angle `first`."""
    sides = [np.stack([np.cos(a), np.sin(a)], axis=1) for a in (first, first + np.deg2rad(degrees))]
    return np.stack(sides, axis=1).reshape(2 * len(first), 2)


def folds_by_loops(
    issame: list, nrof_folds: int, distances_of: Callable[[list[int]], list[float]]
) -> list[float]:
    """Accuracy of each fold, pair by pair; `distances_of` of all pairs may learn from `train`."""
    accuracies, start = [], 0
    for fold in range(nrof_folds):
        stop = start + len(issame) // nrof_folds + (fold < len(issame) % nrof_folds)
        train = [i for i in range(len(issame)) if not start <= i < stop]
        distances = distances_of(train)

        def right(where, threshold, distances=distances):
            return sum((distances[i] < threshold) == bool(issame[i]) for i in where)

        scores = [right(train, 0.01 * step) for step in range(400)]
        best = 0.01 * scores.index(max(scores))
        accuracies.append(right(range(start, stop), best) / (stop - start))
        start = stop
    return accuracies
