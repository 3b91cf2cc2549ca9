"""Partial FC in PyTorch as arcface_torch describes it: one process of head.py --peer.

A reimplementation of the published algorithm for comparison, run by an interpreter that has torch.
`dense` is PartialFC_V2: the sampled rows are an index into the parameter, so their gradient and
the optimizer's step have the size of all classes. `sampled` is the first version: rows and
momentum are copied out, stepped and copied back. Both draw by sorting a random number for every
class, and both give ArcFace's gradient straight through. All of it is one rank's; collectives of
a world of one are left out.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.functional import linear, normalize

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from turns import Turns, memory

from plsc.nn.environment import cores

MARGIN, SCALE, MOMENTUM, DECAY, CLIP = 0.5, 64.0, 0.9, 5e-4, 5.0
PHASES = ("sampling", "forward", "backward", "update")
PER_BATCH, NOISE = 4, 0.5  # as in head_steps.py


class _CrossEntropy(torch.autograd.Function):
    """Mean of -log softmax at the labels; the gradient takes the logits' place in memory."""

    @staticmethod
    def forward(ctx, logits, labels):
        logits = logits - logits.amax(1, keepdim=True)
        exponentials = logits.exp_()
        probabilities = exponentials.div_(exponentials.sum(1, keepdim=True))
        ctx.save_for_backward(probabilities, labels)
        own = probabilities.gather(1, labels[:, None]).clamp_min_(1e-30)
        return -own.log_().mean()

    @staticmethod
    def backward(ctx, gradient):
        probabilities, labels = ctx.saved_tensors
        probabilities[torch.arange(len(labels)), labels] -= 1
        return probabilities.mul_(gradient / len(labels)), None


def sample(labels, num_classes, num_rows):
    """Rows of a step, ascending: those of the labels and random others."""
    positives = labels.unique()
    drawn = torch.rand(num_classes)
    drawn[positives] = 2.0
    return drawn.topk(num_rows).indices.sort().values


def loss_of(features, labels, weight):
    """ArcFace on rows [k, d], with labels that are row numbers."""
    logits = linear(normalize(features), normalize(weight)).clamp(-1, 1)
    with torch.no_grad():
        rows = torch.arange(len(labels))
        logits[rows, labels] = (logits[rows, labels].acos() + MARGIN).cos()
    return _CrossEntropy.apply(logits * SCALE, labels)


class DenseHead:
    """PartialFC_V2."""

    def __init__(self, settings):
        self.num_rows = settings.rows
        self.weight = nn.Parameter(torch.normal(0, 0.01, (settings.classes, settings.dim)))
        self.optimizer = torch.optim.SGD(
            [self.weight], lr=settings.lr, momentum=MOMENTUM, weight_decay=DECAY
        )
        self.weight.grad = torch.zeros_like(self.weight)
        self.optimizer.step()  # so that the momentum exists
        self.optimizer.zero_grad()

    def sample(self, labels):
        """Take the rows of a step; labels as row numbers."""
        rows = sample(labels, len(self.weight), self.num_rows)
        self.active = self.weight[rows]
        return torch.searchsorted(rows, labels)

    def update(self):
        """Step."""
        self.active = None
        self.optimizer.step()
        self.optimizer.zero_grad()


class SampledHead:
    """The first PartialFC."""

    def __init__(self, settings):
        self.num_rows, self.lr = settings.rows, settings.lr
        self.weight = torch.normal(0, 0.01, (settings.classes, settings.dim))
        self.velocity = torch.zeros_like(self.weight)

    def sample(self, labels):
        """Take the rows of a step; labels as row numbers."""
        self.rows = sample(labels, len(self.weight), self.num_rows)
        self.active = self.weight.index_select(0, self.rows).requires_grad_()
        self.active_velocity = self.velocity.index_select(0, self.rows)
        return torch.searchsorted(self.rows, labels)

    @torch.no_grad()
    def update(self):
        """Step on the rows, and put them back."""
        gradient = self.active.grad.add_(self.active, alpha=DECAY)
        self.active_velocity.mul_(MOMENTUM).add_(gradient)
        self.active.add_(self.active_velocity, alpha=-self.lr)
        self.weight.index_copy_(0, self.rows, self.active)
        self.velocity.index_copy_(0, self.rows, self.active_velocity)
        self.active = self.active_velocity = self.rows = None


def measure(settings):
    """Train for `settings.steps` steps after one that is not counted."""
    torch.manual_seed(settings.seed)
    turns = Turns(settings.turns, number=settings.number, count=settings.processes)
    head = {"dense": DenseHead, "sampled": SampledHead}[settings.form](settings)
    backbone = nn.Linear(settings.dim, settings.dim, bias=False)
    optimizer = torch.optim.SGD(
        backbone.parameters(), lr=settings.lr, momentum=MOMENTUM, weight_decay=DECAY
    )
    classes = torch.randint(settings.classes, (min(settings.classes, PER_BATCH * settings.batch),))
    centres = torch.randn(len(classes), settings.dim)
    steps, losses = [], []
    for _ in range(settings.steps + 1):
        chosen = torch.randint(len(classes), (settings.batch,))
        vectors = centres[chosen] + NOISE * torch.randn(settings.batch, settings.dim)
        turns.wait()
        times, used = [time.perf_counter()], time.process_time()
        labels = head.sample(classes[chosen])
        times.append(time.perf_counter())
        loss = loss_of(backbone(vectors), labels, head.active)
        times.append(time.perf_counter())
        loss.backward()
        times.append(time.perf_counter())
        nn.utils.clip_grad_norm_(backbone.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        head.update()
        losses.append(loss.item())
        times.append(time.perf_counter())
        cpu = time.process_time() - used
        turns.give()
        parts = [stop - start for start, stop in zip(times, times[1:], strict=False)]
        steps.append([*parts, times[-1] - times[0], cpu])
    columns = zip((*PHASES, "total", "cpu"), zip(*steps[1:], strict=True), strict=True)
    return {
        "algorithm": f"arcface_torch's, {settings.form} update, written anew in PyTorch",
        "torch": torch.__version__,
        "classes": settings.classes,
        "rows": settings.rows,
        "seconds": {
            name: {"median": round(statistics.median(values), 4), "min": round(min(values), 4)}
            for name, values in columns
        },
        **memory(),
        "loss_first": round(losses[0], 4),
        "loss_last": round(losses[-1], 4),
    }


def main():
    """Measure what the JSON object of the first argument says; write the report where it says."""
    settings = SimpleNamespace(**json.loads(sys.argv[1]))
    torch.set_num_threads(cores())
    Path(settings.report).write_text(json.dumps(measure(settings)))


if __name__ == "__main__":
    main()
