"""Detectors with the weights of the golden figures, and images for them."""

import json
import zlib

import numpy as np
import paddle
from paddle import nn
from places import GOLDEN

from plsc.weights.torch_weights import torch_names

FOLDER = GOLDEN / "detection"
MEAN = np.array([104, 117, 123], np.float32).reshape(3, 1, 1)  # of blue, green, red


def figures(name: str):
    """Return golden figures of detection by the file's name."""
    path = FOLDER / name
    return json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path))


def golden_weight(key: str, shape: list[int], seed: int) -> np.ndarray:
    """Return the deterministic weights of a key of the PyTorch original."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    count = int(np.prod(shape))
    if key.endswith("running_var"):
        values = 0.5 + random.rand(count)
    elif key.endswith("running_mean"):
        values = 0.2 * random.randn(count)
    elif len(shape) == 1:
        weight = key.endswith("weight")
        values = 0.6 + 0.4 * random.rand(count) if weight else 0.1 * random.randn(count)
    else:
        values = random.randn(count) * np.sqrt(1.4 / np.prod(shape[1:]))
    if key.endswith("bn3.weight"):
        values = values * 0.3
    return values.reshape(shape).astype(np.float32)


def filled_detector(net: nn.Layer, seed: int = 0) -> nn.Layer:
    """Give a detector the weights of the golden figures, and return it."""
    names = torch_names(net)
    for key, tensor in net.state_dict().items():
        tensor.set_value(golden_weight(names[key][0], tensor.shape, seed))
    return net


def golden_images(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """Return the images [count, 3, height, width] of a seed, as a detector takes them."""
    pixels = np.random.RandomState(seed).randint(0, 256, (count, 3, height, width))
    return pixels.astype(np.float32) - MEAN


def outputs_of(net: nn.Layer, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a network in evaluation mode gives for images."""
    net.eval()
    with paddle.no_grad():
        return {name: value.numpy() for name, value in net(paddle.to_tensor(images)).items()}


def share(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest expected value."""
    assert found.shape == expected.shape
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def padded(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the faces [n, 15] of each image as a batch has them: padded, and their count."""
    most = max([1, *map(len, images)])
    faces = np.zeros((len(images), most, 15), np.float32)
    for row, found in zip(faces, images, strict=True):
        row[: len(found)] = found
    return {"faces": faces, "count": np.array([len(found) for found in images], np.int64)}


def golden_predictions(seed: int, count: int, anchors: int = 2688) -> dict[str, paddle.Tensor]:
    """Return outputs of a detector, as the golden losses take them; they have gradients."""
    random = np.random.RandomState(seed)
    values = {
        name: (scale * random.randn(count, anchors, width)).astype(np.float32)
        for name, scale, width in (("bbox", 0.8, 4), ("score", 1.5, 2), ("landmark", 0.8, 10))
    }
    return {name: paddle.to_tensor(value, stop_gradient=False) for name, value in values.items()}
