"""The numbers of images at once that a network with a fixed batch size is given."""

from types import SimpleNamespace

import pytest

from plsc.cli.work_options import whole_batches


@pytest.mark.parametrize(
    ("asked", "fixed", "given"), [(64, None, 64), (64, 32, 64), (65, 32, 96), (1, 8, 8), (7, 1, 7)]
)
def test_batches_are_filled(asked, fixed, given):
    embedder = SimpleNamespace(info=SimpleNamespace(batch=fixed))
    assert whole_batches(asked, embedder) == given
