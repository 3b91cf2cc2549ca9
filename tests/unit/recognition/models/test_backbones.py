"""Every registered backbone, and what only some of them have."""

import inspect
import typing

import numpy as np
import paddle
import pytest

from plsc.config.registry import BACKBONES
from plsc.config.schema import check_params
from plsc.errors import UserError
from plsc.nn.layers import Backbone

# more than 110 M parameters: `make test-slow` runs these
LARGE = {"IResNet200", "FaceViT_base_patch9_112", "FaceViT_large_patch9_112"}


def random_images(batch, seed=0):
    pixels = np.random.default_rng(seed).uniform(-1, 1, (batch, 3, 112, 112))
    return paddle.to_tensor(pixels.astype(np.float32))


def trainable(backbone):
    return {
        name: parameter
        for name, parameter in backbone.named_parameters()
        if not parameter.stop_gradient
    }


def gradients(backbone, images):
    """Gradients of a fixed linear function of the features, in training mode."""
    backbone.train()
    features = backbone(images)
    weights = np.random.default_rng(1).normal(size=features.shape)
    (features * paddle.to_tensor(weights).astype(features.dtype)).sum().backward()
    return {name: parameter.grad for name, parameter in trainable(backbone).items()}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else [])
        for name in BACKBONES.names()
    ],
)
def named_backbone(request):
    paddle.seed(5)
    return request.param, BACKBONES.get(request.param, "test")()


class TestEveryRegistered:
    def test_signature_is_a_schema(self, named_backbone):
        name, _ = named_backbone
        builder = BACKBONES.get(name, "test")
        made_by = builder.__init__ if inspect.isclass(builder) else builder
        hints = typing.get_type_hints(made_by, include_extras=True)
        for parameter in inspect.signature(builder).parameters.values():
            assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            assert parameter.name in hints and parameter.default is not parameter.empty
        with pytest.raises(UserError, match="num_features"):
            check_params(builder, {"num_features": 0}, "Model")

    def test_frozen_names_are_differentiable_parameters(self, named_backbone):
        _, backbone = named_backbone
        assert isinstance(backbone, Backbone)
        assert backbone.frozen_names <= set(trainable(backbone))

    def test_training_gives_every_parameter_a_finite_gradient(self, named_backbone):
        _, backbone = named_backbone
        images = random_images(2)
        for name, gradient in gradients(backbone, images).items():
            assert gradient is not None, f"{name} is not used: DataParallel would hang"
            assert bool(paddle.isfinite(gradient).all()), name
        for parameter in backbone.parameters():
            parameter.clear_gradient(set_to_zero=False)
        assert images.stop_gradient and images.grad is None

    def test_evaluation_is_finite_repeatable_and_changes_nothing(self, named_backbone):
        _, backbone = named_backbone
        for parameter in backbone.parameters():
            if parameter.ndim == 4:  # fresh weights beside fresh running statistics may overflow
                wanted = float(np.sqrt(1.4 / np.prod(parameter.shape[1:])))
                parameter.set_value(parameter * (wanted / (float(parameter.std()) + 1e-12)))
        backbone.eval()
        before = {
            key: value.numpy() for key, value in backbone.state_dict().items() if value.ndim == 1
        }
        with paddle.no_grad():
            images = random_images(2)
            features = backbone(images).numpy()
            swapped = backbone(images.flip(0)).numpy()
        assert features.shape == (2, 512) == (2, backbone.num_features)
        assert features.dtype == np.float32
        assert np.isfinite(features).all() and features.std() > 0
        # the same again, whatever stands beside an image in its batch
        np.testing.assert_allclose(swapped[::-1], features, atol=1e-5 * np.abs(features).max())
        for key, value in before.items():
            np.testing.assert_array_equal(backbone.state_dict()[key].numpy(), value)


def test_num_features_is_honoured_and_checked():
    for name in ("IResNet18", "FaceViT_tiny_patch9_112", "MobileFaceNet_base"):
        builder = BACKBONES.get(name, "test")
        backbone = builder(num_features=96)
        backbone.eval()
        assert backbone(random_images(1)).shape == [1, 96] and backbone.num_features == 96
        with pytest.raises(UserError, match="data_format.*NHCW"):
            check_params(builder, {"data_format": "NHCW"}, "Model")
        with pytest.raises(UserError, match="unknown key"):
            check_params(builder, {"class_num": 5}, "Model")
    for key, name in (("dropout", "IResNet18"), ("mask_ratio", "FaceViT_tiny_patch9_112")):
        builder = BACKBONES.get(name, "test")
        assert check_params(builder, {key: 0}, "Model") == {key: 0.0}
        with pytest.raises(UserError, match=key):
            check_params(builder, {key: 1.0}, "Model")


@pytest.fixture
def float64():
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


@pytest.mark.parametrize("name", ["IResNet18", "MobileFaceNet_base"])
def test_formats_train_alike(name, float64):
    first, second = (
        BACKBONES.get(name, "test")(data_format=data_format) for data_format in ("NCHW", "NHWC")
    )
    second.set_state_dict(first.state_dict())
    images = random_images(4).astype("float64")
    expected, got = gradients(first, images), gradients(second, images)
    assert expected.keys() == got.keys()
    scale = max(float(gradient.norm()) for gradient in expected.values())
    for key, gradient in expected.items():
        difference = float((gradient - got[key]).norm())
        # a bias before another BatchNorm has no gradient but rounding: hence the second term
        assert difference <= 1e-9 * float(gradient.norm()) + 1e-14 * scale, key
    for key, value in first.state_dict().items():
        if key.endswith(("_mean", "_variance")):
            np.testing.assert_allclose(
                value.numpy(), second.state_dict()[key].numpy(), rtol=1e-9, atol=1e-12
            )


class TestIResNet:
    def test_scale_of_the_features_is_frozen_but_lets_the_bias_learn(self):
        backbone = BACKBONES.get("IResNet18", "test")()
        assert backbone.frozen_names == {"features.weight"}
        got = gradients(backbone, random_images(4))["features.bias"].numpy()
        weights = np.random.default_rng(1).normal(size=(4, 512)).astype(np.float32)
        np.testing.assert_allclose(got, weights.sum(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(backbone.features.weight.numpy(), 1.0)

    def test_scale_of_the_features_learns_if_asked(self):
        backbone = BACKBONES.get("IResNet18", "test")(feature_scale="trained")
        assert backbone.frozen_names == frozenset()
        seen = []
        backbone.fc.register_forward_post_hook(lambda _, __, output: seen.append(output.numpy()))
        got = gradients(backbone, random_images(4))
        weights = np.random.default_rng(1).normal(size=(4, 512))
        values = seen[0].astype(np.float64)
        normal = (values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + 1e-5)
        np.testing.assert_allclose(
            got["features.weight"].numpy(), (weights * normal).sum(axis=0), rtol=1e-3, atol=1e-4
        )

    @pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
    def test_dropout_of_channels_leaves_whole_maps_out(self, data_format):
        paddle.seed(4)
        backbone = BACKBONES.get("IResNet18", "test")(
            8, dropout=0.4, dropout_of="channels", data_format=data_format
        )
        inside, outside = [], []
        backbone.bn2.register_forward_post_hook(lambda _, __, maps: inside.append(maps.numpy()))
        backbone.fc.register_forward_pre_hook(lambda _, given: outside.append(given[0].numpy()))
        backbone(random_images(4))
        backbone.eval()
        backbone(random_images(4))
        if data_format == "NHWC":
            inside = [maps.transpose(0, 3, 1, 2) for maps in inside]
        maps, left = (each[0].reshape(4, 512, 49) for each in (inside, outside))
        gone = (left == 0).all(axis=2)
        assert gone.mean() == pytest.approx(0.4, abs=0.05) and gone[0].tolist() != gone[1].tolist()
        np.testing.assert_allclose(left[~gone], maps[~gone] / 0.6, rtol=1e-5)
        np.testing.assert_array_equal(outside[1], inside[1].reshape(4, -1))

    def test_dropout_acts_before_fc_and_in_training_only(self):
        backbone = BACKBONES.get("IResNet18", "test")(dropout=0.3)
        seen = []
        backbone.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
        backbone(random_images(2))
        backbone.eval()
        backbone(random_images(2))
        assert [values.shape for values in seen] == [(2, 512 * 7 * 7)] * 2
        assert np.mean(seen[0] == 0) == pytest.approx(0.3, abs=0.02)
        assert np.mean(seen[1] == 0) < 0.01

    def test_initial_weights(self):
        paddle.seed(2)
        backbone = BACKBONES.get("IResNet18", "test")(num_features=256)
        weights = {key: value.numpy() for key, value in backbone.state_dict().items()}
        for key in ("layer1.0.conv1.weight", "layer4.1.conv2.weight"):
            assert weights[key].std() == pytest.approx(0.1, rel=0.02), key
        bound = np.sqrt(6 / (25088 + 256))
        assert np.abs(weights["fc.weight"]).max() == pytest.approx(bound, rel=0.01)
        assert weights["fc.weight"].std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
        np.testing.assert_array_equal(weights["fc.bias"], 0)
        np.testing.assert_array_equal(weights["layer2.0.prelu._weight"], 0.25)

    def test_initial_weights_by_fan_out(self):
        paddle.seed(2)
        backbone = BACKBONES.get("IResNet18", "test")(8, conv_init="kaiming")
        state = backbone.state_dict()
        for key, fan_out in {
            "conv1.weight": 64 * 9,
            "layer2.0.conv1.weight": 128 * 9,
            "layer4.0.conv2.weight": 512 * 9,
            "layer3.0.downsample.0.weight": 256,
        }.items():
            found = state[key].numpy().std()
            assert found == pytest.approx(np.sqrt(2 / fan_out), rel=0.05), key


class TestMobileFaceNet:
    def test_initial_weights(self):
        paddle.seed(2)
        backbone = BACKBONES.get("MobileFaceNet_base", "test")(num_features=64)
        weights = {key: value.numpy() for key, value in backbone.state_dict().items()}
        fans = {
            "layers.2.layers.0.layers.0.weight": 128,
            "layers.1.layers.0.weight": 128 * 9,
            "features.layers.0.layers.0.weight": 512 * 49,
            "features.layers.2.weight": 64,
        }
        for key, fan in fans.items():
            assert weights[key].std() == pytest.approx(np.sqrt(2 / fan), rel=0.05), key

    def test_large_is_deeper_and_wider(self):
        backbone = BACKBONES.get("MobileFaceNet_large", "test")()
        shapes = {key: value.shape for key, value in backbone.state_dict().items()}
        assert shapes["layers.0.layers.0.weight"] == [256, 3, 3, 3]
        assert shapes["conv_sep.layers.0.weight"] == [512, 512, 1, 1]
        depths = [len(backbone.layers[index].layers) for index in (1, 3, 5, 7)]
        assert depths == [2, 8, 12, 4]
        widths = [shapes[f"layers.{index}.layers.0.layers.1.layers.0.weight"] for index in (1, 5)]
        assert widths == [[128, 1, 3, 3], [256, 1, 3, 3]]


@pytest.mark.parametrize(
    ("name", "options", "layer", "epsilon"),
    [
        ("IResNet18", {}, "bn1", 1e-5),
        ("IResNet18", {}, "layer1.1.bn3", 1e-5),
        ("IResNet18", {}, "features", 1e-5),
        ("IResNet18", {"bn_epsilon": 2e-5}, "bn1", 2e-5),
        ("IResNet18", {"bn_epsilon": 2e-5}, "layer2.0.downsample.1", 2e-5),
        ("IResNet18", {"bn_epsilon": 2e-5}, "features", 2e-5),
        ("MobileFaceNet_base", {}, "layers.0.layers.1", 1e-5),
        ("MobileFaceNet_base", {}, "features.layers.3", 1e-5),
        ("FaceViT_tiny_patch9_112", {}, "feature.1", 2e-5),
        ("FaceViT_tiny_patch9_112", {}, "feature.3", 2e-5),
    ],
)
def test_batch_norm_epsilon_and_momentum(name, options, layer, epsilon):
    norm = dict(BACKBONES.get(name, "test")(**options).named_sublayers())[layer]
    state = norm.state_dict()
    state["_variance"].set_value(paddle.zeros_like(state["_variance"]))
    shape = [2, state["_mean"].shape[0]] + ([1, 1] if "2D" in type(norm).__name__ else [])
    norm.eval()
    values = norm(paddle.full(shape, 3.0)).numpy()
    np.testing.assert_allclose(values, 3 / np.sqrt(epsilon), rtol=1e-4)
    norm.train()
    norm(paddle.full(shape, 3.0))
    np.testing.assert_allclose(norm.state_dict()["_mean"].numpy(), 0.1 * 3.0, rtol=1e-5)
