"""Images reach the device once, from memory that a GPU reads by itself, a step ahead."""

import numpy as np
import paddle
import pytest

from plsc.data.loader.batch import Batch
from plsc.engine.image_transfer import ImageTransfer


def batch(seed):
    return Batch({"images": np.random.default_rng(seed).integers(0, 255, (4, 3, 2, 2), np.uint8)})


@pytest.fixture
def copies(monkeypatch):
    """The GPU's answers on a CPU: what was page-locked, and how each copy was made."""
    said = []
    place = paddle.CPUPlace()
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "CUDAPinnedPlace", lambda: said.append("locked") or place)

    def cuda(tensor, blocking=True):
        said.append("waits" if blocking else "does not wait")
        return tensor.clone()

    monkeypatch.setattr(paddle.Tensor, "cuda", cuda)
    return said


def test_a_batch_that_was_sent_is_not_copied_again(copies):
    transfer, first, second = ImageTransfer(ahead=True), batch(1), batch(2)
    transfer.send(first)
    assert copies == ["locked", "does not wait"]
    taken = transfer.take(first)
    assert taken.dtype == paddle.uint8 and (taken.numpy() == first["images"]).all()
    transfer.send(second)
    assert (transfer.take(second).numpy() == second["images"]).all()
    assert copies == ["locked", "does not wait"] * 2


def test_another_batch_than_the_one_that_was_sent(copies):
    transfer = ImageTransfer(ahead=True)
    transfer.send(batch(1))
    assert (transfer.take(batch(3)).numpy() == batch(3)["images"]).all()


def test_on_a_cpu_nothing_is_page_locked():
    transfer, first = ImageTransfer(ahead=True), batch(1)
    transfer.send(first)
    assert (transfer.take(first).numpy() == first["images"]).all()
