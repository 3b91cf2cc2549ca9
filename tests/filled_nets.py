"""Networks whose weights, scales, biases and running statistics all matter."""

import zlib

import numpy as np
import paddle
from paddle import nn

from plsc.nn.evaluation_mode import evaluating


def golden_fill(key: str, shape: list[int], seed: int) -> np.ndarray:
    """Deterministic weights for a state-dict key, as the golden figures use them."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    count = int(np.prod(shape))
    if key.endswith("_variance"):
        values = 0.5 + random.rand(count)
    elif key.endswith("_mean"):
        values = 0.2 * random.randn(count)
    elif len(shape) == 1:
        weight = key.endswith("weight")
        values = 0.6 + 0.4 * random.rand(count) if weight else 0.1 * random.randn(count)
    else:
        fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        values = random.randn(count) * np.sqrt(1.4 / fan)
    return values.reshape(shape).astype(np.float32)


def filled(net: nn.Layer, seed: int = 0) -> nn.Layer:
    """Give a network the weights of the golden figures, and return it."""
    for name, tensor in net.state_dict().items():
        tensor.set_value(golden_fill(name, tensor.shape, seed))
    return net


def embeddings(net: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Return what a network gives for images [n, 3, h, w] in evaluation mode, as float64."""
    with evaluating(net), paddle.no_grad():
        return net(paddle.to_tensor(images.astype(np.float32))).numpy().astype(np.float64)


class SmallNet(nn.Layer):
    """Has every part whose scale or bias a converter has been seen to drop."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 5, stride=8)
        self.bn = nn.BatchNorm2D(4)
        self.prelu = nn.PReLU(4)
        self.norm = nn.LayerNorm(4 * 14 * 14)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(4 * 14 * 14, 8)
        self.features = nn.BatchNorm1D(8)

    def forward(self, images):
        maps = self.prelu(self.bn(self.conv(images)))
        return self.features(self.linear(self.dropout(self.norm(maps.flatten(1)))))
