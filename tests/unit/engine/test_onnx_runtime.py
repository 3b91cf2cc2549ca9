"""Evaluation by ONNX Runtime: the same embeddings, the same backbone, and Paddle where it fails."""

import logging
import tempfile

import numpy as np
import paddle
import pytest

from plsc.engine import evaluation
from plsc.engine import onnx_runtime as onnx_backbone
from plsc.engine.evaluation import network_function
from plsc.engine.onnx_runtime import FEWEST_SAMPLES, onnx_function
from plsc.engine.precision import Precision
from plsc.errors import UserError
from plsc.files import onnx_file
from plsc.nn.cpu_layers import DepthwiseConv2D
from plsc.recognition.evaluator import evaluators_of
from plsc.recognition.export_spec import embedding_spec
from plsc.recognition.metrics.registered import LFWAcc

SPEC = embedding_spec(8)  # metadata apart, that of any embedding


def by_paddle(net, given):
    """Embeddings of images by Paddle, however many more there would be."""
    with network_function(net, Precision(), SPEC, num_samples=0) as function:
        return function(given)["embedding"]


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 112, 112)).astype("float32")


def bits(net) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def training_step(net) -> tuple[bytes, ...]:
    """Features and gradients of a step in training mode."""
    net.train()
    paddle.seed(3)
    features = net(paddle.to_tensor(images(4)))
    features.square().sum().backward()
    gradients = [p.grad.numpy().tobytes() for p in net.parameters() if p.grad is not None]
    net.clear_gradients()
    net.eval()
    return (features.numpy().tobytes(), *gradients)


def test_embeddings_are_equal_and_training_goes_on_as_if_nothing_had_been(
    small_backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    used, other = small_backbone(32), small_backbone(32)
    before = bits(used)
    run = onnx_function(used, SPEC, num_samples=FEWEST_SAMPLES)
    assert run is not None
    assert list(tmp_path.iterdir()) == []
    assert bits(used) == before
    assert all(not layer.training for layer in used.sublayers(include_self=True))
    for count in (1, 7):
        found = run({"data": images(count)})["embedding"].astype(np.float64)
        wanted = by_paddle(used, images(count)).astype(np.float64)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        assert (1 - (found * wanted).sum(axis=1) / lengths).max() < 1e-5
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    assert training_step(used) == training_step(other)


@pytest.fixture
def nothing_is_made(monkeypatch):
    monkeypatch.setattr(onnx_backbone, "write_onnx", lambda *_, **__: pytest.fail("made a file"))


@pytest.mark.parametrize("why", ["few images", "GPU", "stock", "not installed"])
def test_paddle_runs_it(why, small_backbone, nothing_is_made, monkeypatch, caplog):
    if why == "GPU":
        monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    if why == "stock":
        monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    if why == "not installed":
        monkeypatch.setattr(onnx_file, "MODULES", ("onnx", "no_such_module"))
    count = FEWEST_SAMPLES - (why == "few images")
    assert onnx_function(small_backbone(8), SPEC, num_samples=count) is None
    assert caplog.records == []


def test_depthwise_convolutions_are_exported_only_without_kernels_of_our_own(monkeypatch):
    monkeypatch.setattr(onnx_backbone, "wanted", lambda: False)
    monkeypatch.setattr(onnx_backbone, "_session", lambda network, spec: len)
    net = paddle.nn.Sequential(DepthwiseConv2D(3, 3))
    assert onnx_function(net, SPEC, num_samples=FEWEST_SAMPLES) is len
    monkeypatch.setattr(onnx_backbone, "wanted", lambda: True)
    assert onnx_function(net, SPEC, num_samples=FEWEST_SAMPLES) is None


@pytest.mark.parametrize("why", ["no converter", "no disk", "differs"])
def test_what_fails_is_told_and_paddle_runs_it(why, small_backbone, monkeypatch, caplog):
    def fail(*_, **__):
        raise UserError("no such operator\nmore") if why == "no converter" else OSError("disk full")

    def wrong(*_, **__):
        return lambda given: {"embedding": np.ones((len(given["data"]), 8), np.float32)}

    for name in ("convert", "finish"):
        monkeypatch.setattr(onnx_file, name, fail if why != "differs" else lambda *_, **__: None)
    monkeypatch.setattr(onnx_file, "run", wrong)
    with caplog.at_level(logging.WARNING):
        assert onnx_function(small_backbone(8), SPEC, num_samples=FEWEST_SAMPLES) is None
    (record,) = caplog.records
    said = {"no converter": "no such operator", "no disk": "disk full", "differs": "differs from"}
    assert said[why] in record.getMessage()
    assert "more" not in record.getMessage()


@pytest.mark.parametrize("fails", [True, False])
def test_one_rank_that_fails_takes_all_to_paddle(fails, small_backbone, monkeypatch):
    asked = []

    def agree(flag):
        asked.append(flag)
        return True

    def session(network, spec):
        if fails:
            raise OSError("disk full")
        return len

    monkeypatch.setattr(onnx_backbone, "agree", agree)
    monkeypatch.setattr(onnx_backbone, "_session", session)
    assert onnx_function(small_backbone(8), SPEC, num_samples=FEWEST_SAMPLES) is None
    assert asked == [fails]  # a rank that can must ask, too: the others wait for its answer


class Pairs:
    """As many pairs as make a number of images; those of one person are alike."""

    def __init__(self, num_images: int):
        self.issame = np.arange(num_images // 2) % 2 == 0
        self.pixels = images(num_images, seed=1)
        same = np.flatnonzero(self.issame)
        self.pixels[2 * same + 1] = self.pixels[2 * same]
        self.fields = {"images": (self.pixels.shape[1:], self.pixels.dtype)}

    def __len__(self) -> int:
        return len(self.pixels)

    def get(self, index, rng):
        return {"images": self.pixels[index]}

    def normalise(self, batch):
        return batch


@pytest.mark.parametrize("flip", [True, False])
def test_the_evaluator_counts_what_it_embeds_and_takes_what_is_offered(
    flip, small_backbone, monkeypatch
):
    counts, seen, net = [], [], small_backbone(8)

    def offer(network, spec, *, num_samples):
        assert network is net and spec is SPEC
        assert not network.training
        counts.append(num_samples)

        def run(given):
            seen.append(len(given["data"]))
            return {"embedding": net(paddle.to_tensor(given["data"])).numpy()}

        return run if len(counts) == 1 else None

    monkeypatch.setattr(evaluation, "onnx_function", offer)
    metric = LFWAcc(flip_test=flip, nrof_folds=2)
    (evaluator,) = evaluators_of(Pairs(8), [metric], name="pairs", batch_size=4)

    def measured():
        samples = evaluator.num_samples
        with network_function(net, Precision(), SPEC, num_samples=samples) as function:
            return evaluator.scalars(evaluator.report(function))

    net.train()
    first = measured()
    assert net.training
    assert sum(seen) == counts[0] == (16 if flip else 8)
    assert measured() == first
    assert sum(seen) == counts[0]
