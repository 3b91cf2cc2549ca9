"""The network of the files in golden/v300, as a plug-in: small enough for files in a repository."""

from paddle import nn

from plsc.config.registry import BACKBONES


@BACKBONES.register
class TinyNet(nn.Layer):
    """A convolution, a BatchNorm and a linear layer."""

    def __init__(self, num_features: int = 8):
        super().__init__()
        self.num_features = num_features
        self.conv, self.norm = nn.Conv2D(3, 8, 7, stride=8), nn.BatchNorm2D(8)
        self.pool, self.fc = nn.AvgPool2D(3), nn.Linear(8 * 16, num_features)

    def forward(self, images):
        maps = self.pool(nn.functional.relu(self.norm(self.conv(images))))
        return self.fc(maps.flatten(1))
