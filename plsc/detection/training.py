"""Train a detector: every face's anchors against mined background."""

from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn

from plsc.data.loader.batch import Batch
from plsc.detection.anchors import anchors_of
from plsc.detection.losses import Counts, multibox_loss
from plsc.detection.matching import Targets, match_images
from plsc.detection.sections import LossConfig
from plsc.distributed.collectives import gather_arrays, reduce_sum
from plsc.engine.log import RunLog
from plsc.engine.training_task import StepLoss, TrainingTask
from plsc.weights.pretrained import load_weights, set_backbone
from plsc.weights.weights import Weights

CLASSIFIERS = ("fc.", "end_point.")  # behind a body, in files of torchvision and MindFace
FACES, COUNT = "faces", "count"  # fields of a batch: [b, most, 15], and how many are faces


class DetectionTraining(TrainingTask):
    """The MultiBox loss as a TrainingTask; see `plsc.engine.training_task`.

    Args:
        settings: weights of the loss's parts, and what counts as a match.
        body_weights: file that the network's body begins with; None for none.

    """

    def __init__(self, settings: LossConfig, body_weights: str | None = None):
        self.settings, self._body_weights = settings, body_weights
        self._targets: Targets | None = None
        self._counts = Counts(0, 0)
        self._next = 0  # the first image of the next part

    def start(self, weights: Weights | None, network: nn.Layer, folder: Path, log: RunLog) -> None:
        """Give the body its own weights, unless the whole network has some.

        Raises:
            UserError: they do not fit.

        """
        if weights is None and self._body_weights is not None:
            path = self._body_weights
            found = load_weights(path, network.body)
            # Whoever trained the body had it tell classes apart.
            own = {
                key: value
                for key, value in found.backbone.items()
                if not key.startswith(CLASSIFIERS)
            }
            set_backbone(network.body, own, source=path)
            for note in (*found.notes, "the body begins with these weights"):
                log.line(f"{path}: {note}")

    def begin_step(
        self, batch: Batch, *, step: int, fraction: float, upcoming: Batch | None = None
    ) -> None:
        """Match the faces of a step with anchors, and count the matches of all ranks."""
        shape = batch["images"].shape[1:]
        height, width = shape[:2] if shape[-1] == 3 else shape[1:]
        faces = [rows[:count] for rows, count in zip(batch[FACES], batch[COUNT], strict=True)]
        threshold = self.settings.match_thresh
        self._targets = match_images(faces, anchors_of(height, width), threshold=threshold)
        own = np.array([[self._targets.num_positive, self._targets.num_with_landmarks]])
        self._counts = Counts(*gather_arrays(own).sum(axis=0).tolist())
        self._next = 0

    def loss(self, outputs: dict[str, Tensor], part: Batch) -> StepLoss:
        """Return the part's summand of the loss of all ranks' images.

        Args:
            outputs: see `RetinaFace.forward`, scores as logits.
            part: its images are the next of the step's.

        """
        assert self._targets is not None
        settings, start = self.settings, self._next
        self._next += len(part)
        losses = multibox_loss(
            outputs,
            self._targets.of_images(start, self._next),
            self._counts,
            negatives=settings.neg_pre_positive,
        )
        total = (
            losses.box * settings.loc_weight
            + losses.score * settings.class_weight
            + losses.landmark * settings.landm_weight
        )
        summed = reduce_sum(paddle.stack([total, *losses])).unbind()
        # The mean over the parts is logged, and each has only its own summand.
        parts = len(self._targets.labels) / len(part)
        shown = zip(("box_loss", "class_loss", "landmark_loss"), summed[1:], strict=True)
        return StepLoss(total, summed[0], {name: value * parts for name, value in shown})
