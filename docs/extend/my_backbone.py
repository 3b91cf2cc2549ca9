"""A backbone of your own: a layer with `num_features` that maps images to embeddings."""

from paddle import Tensor, nn

from plsc.config.registry import BACKBONES


@BACKBONES.register
class TinyNet(nn.Layer):
    """A convolution and a linear layer."""

    def __init__(self, width: int = 16, num_features: int = 512):
        super().__init__()
        self.num_features = num_features  # the head asks for it
        self.maps = nn.Sequential(
            nn.Conv2D(3, width, 7, stride=8), nn.BatchNorm2D(width), nn.ReLU()
        )
        self.fc = nn.Linear(width * 14 * 14, num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings [b, num_features] of images [b, 3, 112, 112]."""
        return self.fc(self.maps(images).flatten(1))
