import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from plsc.recognition.models.small import QuickFace_nano


def test_holds_only_what_is_fast_on_a_cpu():
    backbone = QuickFace_nano(num_features=128)
    assert sum(parameter.size for parameter in backbone.parameters()) == 867176
    for layer in backbone.sublayers():
        assert not isinstance(layer, nn.PReLU)
        if isinstance(layer, nn.Conv2D):
            assert layer._groups == 1
    assert backbone.frozen_names == frozenset()


def test_multiplications_of_an_image():
    backbone = QuickFace_nano(num_features=128)
    backbone.eval()
    products = []

    def count(layer, _, output):
        positions = int(np.prod(output.shape[2:]))
        products.append(positions * int(np.prod(layer.weight.shape)))

    for layer in backbone.sublayers():
        if isinstance(layer, nn.Conv2D | nn.Linear):
            layer.register_forward_post_hook(count)
    backbone(paddle.zeros([1, 3, 112, 112]))
    assert round(sum(products) / 1e9, 3) == 0.024


def test_sees_every_position():
    """A patch anywhere on the face changes the features: no pooling, nothing cut off."""
    backbone = QuickFace_nano(num_features=16)
    backbone.eval()
    images = np.zeros((50, 3, 112, 112), np.float32)
    for patch in range(49):
        row, column = divmod(patch, 7)
        images[patch, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = 1
    with paddle.no_grad():
        features = backbone(paddle.to_tensor(images)).numpy()
    changes = features[:49] - features[49]
    assert (np.linalg.norm(changes, axis=1) > 1e-3).all()
    # and where it is matters: every two places give other features
    distances = np.linalg.norm(changes[:, None] - changes[None], axis=2)
    assert distances[~np.eye(49, dtype=bool)].min() > 1e-3


def test_learns_four_classes_in_a_few_steps():
    paddle.seed(0)
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(4, 3, 7, 7)).repeat(16, axis=2).repeat(16, axis=3)
    labels = np.arange(16) % 4
    images = prototypes[labels] + rng.normal(size=(16, 3, 112, 112))
    images = paddle.to_tensor(images.astype(np.float32))
    backbone = QuickFace_nano(num_features=4)
    optimizer = paddle.optimizer.Momentum(0.05, 0.9, parameters=backbone.parameters())
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(4 * backbone(images), paddle.to_tensor(labels))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.05 * losses[0]
