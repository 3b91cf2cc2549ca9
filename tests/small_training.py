"""A training put together by hand, for tests of the loop and of its step."""

from plsc.data.loader.batch import Batch
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.training import Training
from plsc.engine.update import Updater
from plsc.optimizer.arrangement import trained_parameters
from plsc.recognition.training import RecognitionTraining


def training_of(
    net, head, rule, *, clip=None, scaler=None, frozen=(), progress=None, lr=0.1, **options
) -> Training:
    """Return the training of `net` under `head` by `rule`; `options` are Training's."""
    precision = Precision()
    precision.scaler = scaler or precision.scaler
    dense = trained_parameters(
        net, frozen=frozen, state_names=rule.state_names, clip=clip, no_weight_decay=()
    )
    given = {"epochs": 1, "num_images": 0, "steps_per_epoch": 9, "global_batch": 1}
    return Training(
        **{
            "network": DataParallel(net),
            "task": RecognitionTraining(head),
            "updater": Updater(dense, [head], rule=rule, clip=clip, scaler=precision.scaler),
            "precision": precision,
            "schedule": lambda time: lr,
            "loader": None,
            "progress": Progress(**given | (progress or {})),
            **options,
        }
    )


def faces(images, labels) -> Batch:
    """Return images [b, ...] and labels [b] as a batch of faces."""
    return Batch({"images": images, "labels": labels})
