"""Random masking, drop path and initial weights of FaceViT."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_face_vit

from plsc.config.registry import BACKBONES
from plsc.errors import UserError
from plsc.nn.layers import DropPath
from plsc.recognition.models.face_vit import FaceViTBlock, drop_tokens, restore_tokens


def small(*, mask_ratio=0.0, drop_path_rate=0.0, depth=2):
    paddle.seed(1)
    return small_face_vit(16, depth, 8, mask_ratio=mask_ratio, drop_path_rate=drop_path_rate)


def images(batch=3):
    return paddle.to_tensor(
        np.random.default_rng(0).uniform(-1, 1, (batch, 3, 112, 112)).astype(np.float32)
    )


def tokens_before_head(model, batch):
    """What the feature head gets, [b, 144, dim]."""
    seen = []
    hook = model.feature.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(batch)
    hook.remove()
    return seen[0].numpy().reshape(batch.shape[0], 144, -1)


class TestMasking:
    @pytest.mark.parametrize(
        ("mask_ratio", "num_seen"), [(0.0, 144), (0.05, 136), (0.1, 129), (0.5, 72), (0.99, 1)]
    )
    def test_blocks_see_the_configured_part_in_training_only(self, mask_ratio, num_seen):
        model, seen = small(mask_ratio=mask_ratio), []
        for block in model.blocks:
            block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        model(images())
        assert seen == [[3, num_seen, 16]] * 2
        seen.clear()
        model.eval()
        model(images())
        assert seen == [[3, 144, 16]] * 2

    def test_builders_hand_the_ratio_on(self):
        model = BACKBONES.get("FaceViT_tiny_patch9_112", "test")(
            mask_ratio=0.25, drop_path_rate=0.2
        )
        assert model.num_kept == 108
        assert model.blocks[-1].drop_path.rate == pytest.approx(0.2)

    def test_removed_positions_hold_the_mask_token_and_the_others_their_own(self):
        model = small(mask_ratio=0.3)
        with paddle.no_grad():
            for block in model.blocks:  # a block that changes nothing
                for layer in (block.attn.proj, block.mlp.fc2):
                    layer.weight.zero_()
                    layer.bias.zero_()
        masked = tokens_before_head(model, images())
        model.eval()
        whole = tokens_before_head(model, images())
        refilled = np.isclose(masked, model.mask_token.numpy()).all(axis=-1)
        own = np.isclose(masked, whole, atol=1e-5).all(axis=-1)
        assert (refilled ^ own).all()
        assert (own.sum(axis=1) == int(144 * 0.7)).all()
        assert (refilled[0] != refilled[1]).any()  # each sample loses others

    def test_mask_token_is_trained_only_where_it_is_used(self):
        unused, used = small(), small(mask_ratio=0.1)
        assert unused.mask_token.stop_gradient and not used.mask_token.stop_gradient
        assert "mask_token" in unused.state_dict()
        weights = paddle.to_tensor(np.random.default_rng(2).normal(size=(3, 8)).astype("float32"))
        (used(images()) * weights).sum().backward()
        assert float(used.mask_token.grad.abs().sum()) > 0

    def test_nothing_left_is_an_error(self):
        with pytest.raises(UserError, match=r"mask_ratio 0\.995 leaves none.*at most 0\.993"):
            small(mask_ratio=0.995)

    @settings(max_examples=40, deadline=None)
    @given(st.data(), st.integers(1, 4), st.integers(1, 30))
    def test_restoring_undoes_dropping(self, data, batch, count):
        num_kept = data.draw(st.integers(1, count))
        tokens = np.random.default_rng(3).normal(size=(batch, count, 5)).astype(np.float32)
        kept, positions = drop_tokens(paddle.to_tensor(tokens), num_kept)
        assert kept.shape == [batch, num_kept, 5]
        mask_token = paddle.full([1, 1, 5], 7.0)
        restored = restore_tokens(kept, mask_token, positions).numpy()
        missing = (restored == 7.0).all(axis=-1)
        assert (missing.sum(axis=1) == count - num_kept).all()
        np.testing.assert_array_equal(restored[~missing], tokens[~missing])

    def test_every_position_is_dropped_equally_often(self):
        _, positions = drop_tokens(paddle.zeros([4000, 10, 1]), 7)
        dropped = (positions.numpy() >= 7).mean(axis=0)
        np.testing.assert_allclose(dropped, 0.3, atol=0.04)  # 5 standard deviations

    def test_gradient_goes_to_the_kept_tokens(self):
        tokens = paddle.ones([2, 6, 3])
        tokens.stop_gradient = False
        kept, positions = drop_tokens(tokens, 4)
        mask_token = paddle.zeros([1, 1, 3])
        mask_token.stop_gradient = False
        weights = paddle.arange(1, 37, dtype="float32").reshape([2, 6, 3])
        (restore_tokens(kept, mask_token, positions) * weights).sum().backward()
        is_kept = (positions.numpy() < 4)[..., None]
        np.testing.assert_allclose(tokens.grad.numpy(), np.where(is_kept, weights.numpy(), 0))
        expected = np.where(is_kept, 0, weights.numpy()).sum(axis=(0, 1))
        np.testing.assert_allclose(mask_token.grad.numpy()[0, 0], expected)


class TestDropPath:
    def test_rates_grow_linearly_from_zero(self):
        rates = [block.drop_path.rate for block in small(drop_path_rate=0.3, depth=4).blocks]
        np.testing.assert_allclose(rates, np.linspace(0, 0.3, 4))
        assert small(drop_path_rate=0.3, depth=1).blocks[0].drop_path.rate == 0

    def test_drops_whole_samples_and_keeps_the_mean(self):
        paddle.seed(4)
        layer, values = DropPath(0.25), np.ones((4000, 2, 3), dtype=np.float32)
        dropped = layer(paddle.to_tensor(values)).numpy()
        assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
        per_sample = dropped.reshape(4000, -1)
        assert (per_sample == per_sample[:, :1]).all()
        assert (per_sample[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.03)

    def test_evaluation_and_rate_zero_change_nothing(self):
        values = paddle.ones([8, 2])
        layer = DropPath(0.9)
        layer.eval()
        np.testing.assert_array_equal(layer(values).numpy(), 1)
        np.testing.assert_array_equal(DropPath(0.0)(values).numpy(), 1)

    def test_keeps_the_precision_of_its_input(self):
        assert DropPath(0.5)(paddle.ones([4, 2], dtype="bfloat16")).dtype == paddle.bfloat16

    def test_acts_on_both_branches_of_a_block(self):
        block = FaceViTBlock(16, drop_path_rate=1 - 1e-9)
        tokens = paddle.rand([2, 5, 16])
        np.testing.assert_array_equal(block(tokens).numpy(), tokens.numpy())
        block.eval()
        assert float((block(tokens) - tokens).abs().min()) > 0


def test_initial_weights():
    paddle.seed(2)
    model = BACKBONES.get("FaceViT_tiny_patch9_112", "test")()
    for key, value in model.state_dict().items():
        if value.ndim == 2 or key in ("pos_embed", "mask_token"):
            assert float(value.std()) == pytest.approx(0.02, rel=0.15), key
        elif key.endswith("bias") and key != "patch_embed.proj.bias":
            np.testing.assert_array_equal(value.numpy(), 0, err_msg=key)


def test_layer_norms_have_epsilon_1e5():
    for norm in (small().norm, small().blocks[0].norm1, small().blocks[0].norm2):
        signs = np.tile([1.0, -1.0], (1, 8)).astype(np.float32)
        values = norm(paddle.to_tensor(0.001 * signs)).numpy()
        np.testing.assert_allclose(values, 0.001 * signs / np.sqrt(1e-6 + 1e-5), rtol=1e-4)
