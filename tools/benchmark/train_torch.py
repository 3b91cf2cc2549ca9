"""The PyTorch side of train.py: `train_torch.py BACKBONE BATCH CLASSES SECONDS` -> a JSON line."""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch_networks import NETWORKS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plsc.nn.environment import cores

WARM_STEPS = 2
MARGIN, SCALE = 0.2, 16.0
NUM_FEATURES = 128


class CosineHead(nn.Module):
    """Features [b, d], labels [b] -> mean cross entropy of scaled cosines, the target's less."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(num_classes, NUM_FEATURES))

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        cosines = F.linear(F.normalize(features), F.normalize(self.weight))
        margins = MARGIN * F.one_hot(labels, cosines.shape[1])
        return F.cross_entropy(SCALE * (cosines - margins), labels)


def main() -> None:
    """Train on random images for some seconds."""
    name, batch, classes, seconds = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4])
    if name not in NETWORKS:
        sys.exit(f"train_torch.py: error: no {name} in PyTorch here; there are {list(NETWORKS)}")
    torch.set_num_threads(cores())
    torch.manual_seed(1)
    backbone, head = NETWORKS[name](NUM_FEATURES), CosineHead(classes)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
    images, labels = torch.rand(batch, 3, 112, 112) * 2 - 1, torch.arange(batch) % classes
    losses: list[float] = []
    began = time.perf_counter()
    while len(losses) <= WARM_STEPS or time.perf_counter() - began <= seconds:
        loss = head(backbone(images), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) == WARM_STEPS:
            began = time.perf_counter()
    speed = (len(losses) - WARM_STEPS) * batch / (time.perf_counter() - began)
    print(json.dumps({"images_per_second": speed, "losses": [losses[0], losses[-1]]}))


if __name__ == "__main__":
    main()
