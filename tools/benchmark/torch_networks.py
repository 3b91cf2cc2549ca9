"""The benchmark's backbones in PyTorch: the layers and shapes of plsc.recognition.models."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


class IResNetBlock(nn.Module):
    """BN, conv, BN, PReLU, strided conv, BN; the shortcut is added."""

    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            shrink = nn.Conv2d(before, channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(shrink, nn.BatchNorm2d(channels))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """[b, before, h, w] -> [b, channels, h/stride, w/stride]."""
        return self.branch(maps) + self.shortcut(maps)


def iresnet(num_features: int, depths: tuple[int, ...]) -> nn.Module:
    """A stem, four stages, and a linear layer over all positions."""
    layers = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)]
    before = 64
    for channels, depth in zip((64, 128, 256, 512), depths, strict=True):
        for index in range(depth):
            layers.append(IResNetBlock(before, channels, 1 if index else 2))
            before = channels
    layers += [nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 49, num_features)]
    return nn.Sequential(*layers, nn.BatchNorm1d(num_features))


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] -> the same shape."""
        return maps + super().forward(maps)


def _conv(before: int, channels: int, kernel: int = 1, *, active: bool = True, **options) -> list:
    layers = [
        nn.Conv2d(before, channels, kernel, bias=False, **options),
        nn.BatchNorm2d(channels),
    ]
    return [*layers, nn.PReLU(channels)] if active else layers


def _bottleneck(before: int, channels: int, width: int, stride: int) -> list:
    return [
        *_conv(before, width),
        *_conv(width, width, 3, stride=stride, padding=1, groups=width),
        *_conv(width, channels, active=False),
    ]


def mobilefacenet(num_features: int) -> nn.Module:
    """MobileFaceNet_base: scale 2, blocks (1, 4, 6, 2)."""

    def residuals(channels: int, depth: int, width: int) -> list:
        return [Residual(*_bottleneck(channels, channels, width, 1)) for _ in range(depth)]

    return nn.Sequential(
        *_conv(3, 128, 3, stride=2, padding=1),
        *_conv(128, 128, 3, padding=1, groups=64),
        *_bottleneck(128, 128, 128, 2),
        *residuals(128, 4, 128),
        *_bottleneck(128, 256, 256, 2),
        *residuals(256, 6, 256),
        *_bottleneck(256, 256, 512, 2),
        *residuals(256, 2, 256),
        *_conv(256, 512),
        *_conv(512, 512, 7, groups=512, active=False),
        nn.Flatten(),
        nn.Linear(512, num_features, bias=False),
        nn.BatchNorm1d(num_features),
    )


class ViTBlock(nn.Module):
    """Pre-normalised attention of 8 heads, then a ReLU6 MLP of width 4."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU6(), nn.Linear(4 * dim, dim))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[b, n, dim] -> the same shape."""
        b, n, dim = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(b, n, 3, 8, dim // 8).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(b, n, dim)
        tokens = tokens + self.proj(mixed)
        return tokens + self.mlp(self.norm2(tokens))


class FaceViT(nn.Module):
    """144 patches of 9x9 pixels; the head reads them all."""

    def __init__(self, num_features: int, dim: int, depth: int):
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 9, stride=9)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 144, dim))
        self.blocks = nn.Sequential(*(ViTBlock(dim) for _ in range(depth)), nn.LayerNorm(dim))
        self.feature = nn.Sequential(
            nn.Linear(144 * dim, dim, bias=False),
            nn.BatchNorm1d(dim),
            nn.Linear(dim, num_features, bias=False),
            nn.BatchNorm1d(num_features),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[b, 3, 112, 112] -> [b, num_features]."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.feature(self.blocks(tokens).flatten(1))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "IResNet18": partial(iresnet, depths=(2, 2, 2, 2)),
    "IResNet50": partial(iresnet, depths=(3, 4, 14, 3)),
    "MobileFaceNet_base": mobilefacenet,
    "FaceViT_tiny_patch9_112": partial(FaceViT, dim=256, depth=12),
}
