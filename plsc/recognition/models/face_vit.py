"""FaceViT: a vision transformer without class token whose head reads every patch."""

from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import nn

from plsc.config.registry import BACKBONES
from plsc.data.transforms.align import FACE_SIZE
from plsc.errors import UserError
from plsc.nn.cpu_transformer import LayerNorm, Linear, attend
from plsc.nn.layers import Backbone, DropPath, NumFeatures, Rate

PATCH_SIZE = 9  # pixels; the last 4 rows and columns of an image are not seen
NUM_PATCHES = (FACE_SIZE // PATCH_SIZE) ** 2
NUM_HEADS = 8
MLP_RATIO = 4


def _normal() -> nn.initializer.TruncatedNormal:
    return nn.initializer.TruncatedNormal(std=0.02)


def _linear(in_features: int, out_features: int, *, bias: bool = True) -> Linear:
    return Linear(
        in_features, out_features, weight_attr=_normal(), bias_attr=None if bias else False
    )


class PatchEmbed(nn.Layer):
    """A linear map of each 9x9 patch."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2D(3, dim, PATCH_SIZE, stride=PATCH_SIZE)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return tokens [b, 144, dim] of images [b, 3, 112, 112]."""
        return self.proj(images).flatten(2).transpose([0, 2, 1])


class Attention(nn.Layer):
    """Softmax attention, 8 heads; one matrix without bias makes queries, keys and values."""

    def __init__(self, dim: int):
        super().__init__()
        self.qkv = _linear(dim, 3 * dim, bias=False)
        self.proj = _linear(dim, dim)

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Return tokens [b, n, dim] of tokens of the same shape."""
        return self.proj(attend(self.qkv(tokens), NUM_HEADS))

    def half_precision_widths(self, kept: paddle.Tensor) -> tuple[int, ...]:
        """Return the bytes of a number in each copy of `kept` that backward keeps under O1."""
        # Of the weights softmax keeps float32, the product after it a half precision copy.
        weights = kept.ndim >= 2 and kept.shape[-1] == kept.shape[-2]
        return (4, 2) if weights else (2,)


class Mlp(nn.Layer):
    """Two linear layers with ReLU6 between."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = _linear(dim, MLP_RATIO * dim)
        self.fc2 = _linear(MLP_RATIO * dim, dim)

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Return tokens [b, n, dim] of tokens of the same shape."""
        return self.fc2(F.relu6(self.fc1(tokens)))


class FaceViTBlock(nn.Layer):
    """Pre-normalised attention and MLP, each a residual branch with drop path."""

    def __init__(self, dim: int, *, drop_path_rate: float):
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = Attention(dim)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """Return tokens [b, n, dim] of tokens of the same shape."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


def drop_tokens(tokens: paddle.Tensor, num_kept: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Choose tokens at random, others for each sample.

    Args:
        tokens: [b, n, dim].
        num_kept: how many of the n stay.

    Returns:
        the kept tokens [b, num_kept, dim] and, for `restore_tokens`, where each of the n positions
        stands in the shuffled order, int64 [b, n].

    """
    order = paddle.rand(tokens.shape[:2], dtype="float32").argsort(axis=1)
    kept = paddle.take_along_axis(tokens, order[:, :num_kept].unsqueeze(-1), axis=1)
    return kept, order.argsort(axis=1)


def restore_tokens(
    kept: paddle.Tensor, mask_token: paddle.Tensor, positions: paddle.Tensor
) -> paddle.Tensor:
    """Put the kept tokens at their places, `mask_token` [1, 1, dim] at the others: [b, n, dim]."""
    batch, num_kept, dim = kept.shape
    missing = mask_token.astype(kept.dtype).expand([batch, positions.shape[1] - num_kept, dim])
    shuffled = paddle.concat([kept, missing], axis=1)
    return paddle.take_along_axis(shuffled, positions.unsqueeze(-1), axis=1)


class FaceViT(Backbone):
    """In training with `mask_ratio`, the blocks see a random part of the patches.

    Attributes:
        dim: numbers of a token.
        depth: how many blocks there are.

    """

    dim: int
    depth: int

    def __init__(
        self,
        num_features: NumFeatures = 512,
        *,
        mask_ratio: Rate = 0.0,
        drop_path_rate: Rate = 0.0,
        data_format: Literal["NCHW"] = "NCHW",
    ):
        """Make the layers with random weights."""
        super().__init__()
        dim, depth, self.num_features = self.dim, self.depth, num_features
        self.num_kept = int(NUM_PATCHES * (1 - mask_ratio))
        if self.num_kept == 0:
            raise UserError(
                f"Model.mask_ratio {mask_ratio} leaves none of the {NUM_PATCHES} patches; "
                f"at most {1 - 1 / NUM_PATCHES:.3f} leaves one"
            )
        self.pos_embed = self.create_parameter([1, NUM_PATCHES, dim], default_initializer=_normal())
        self.mask_token = self.create_parameter([1, 1, dim], default_initializer=_normal())
        # A trainable parameter without a gradient makes DataParallel wait for ever.
        self.mask_token.stop_gradient = self.num_kept == NUM_PATCHES
        self.patch_embed = PatchEmbed(dim)
        last = max(depth - 1, 1)
        self.blocks = nn.LayerList(
            FaceViTBlock(dim, drop_path_rate=drop_path_rate * index / last)
            for index in range(depth)
        )
        self.norm = LayerNorm(dim)
        self.feature = nn.Sequential(
            _linear(NUM_PATCHES * dim, dim, bias=False),
            nn.BatchNorm1D(dim, epsilon=2e-5),
            _linear(dim, num_features, bias=False),
            nn.BatchNorm1D(num_features, epsilon=2e-5),
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return features [b, num_features] of images [b, 3, 112, 112]."""
        tokens = self.patch_embed(images) + self.pos_embed
        positions: paddle.Tensor | None = None
        if self.training and self.num_kept < NUM_PATCHES:
            tokens, positions = drop_tokens(tokens, self.num_kept)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if positions is not None:
            tokens = restore_tokens(tokens, self.mask_token, positions)
        return self.feature(tokens.flatten(1))


@BACKBONES.register
class FaceViT_tiny_patch9_112(FaceViT):
    """19.1 M parameters and 1.5 GFLOP an image at 512 features."""

    dim, depth = 256, 12


@BACKBONES.register
class FaceViT_small_patch9_112(FaceViT):
    """76.0 M parameters and 5.7 GFLOP an image at 512 features."""

    dim, depth = 512, 12


@BACKBONES.register
class FaceViT_base_patch9_112(FaceViT):
    """113.8 M parameters and 11.4 GFLOP an image at 512 features."""

    dim, depth = 512, 24


@BACKBONES.register
class FaceViT_large_patch9_112(FaceViT):
    """255.7 M parameters and 25.3 GFLOP an image at 512 features."""

    dim, depth = 768, 24
