"""What a GPU would be given in a step of a detector: launches of the update, and host waits."""

import importlib.util

import numpy as np
from detectors import golden_images, padded
from places import ROOT

from plsc.data.loader.batch import Batch
from plsc.detection.models.retinaface import RetinaFace_MobileNet025
from plsc.detection.sections import LossConfig
from plsc.detection.training import DetectionTraining
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.trainer import train_step
from plsc.engine.training import Training
from plsc.engine.update import Updater
from plsc.optimizer.arrangement import trained_parameters
from plsc.optimizer.clip import ClipGradByNorm
from plsc.optimizer.momentum import Momentum

SPEC = importlib.util.spec_from_file_location(
    "launch_counter", ROOT / "tools" / "benchmark" / "launch_counter.py"
)
launch_counter = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(launch_counter)


def test_a_step_waits_once(monkeypatch):
    """Matching is the host's, and mining asks the device nothing; clipped tensor by tensor."""
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    net, rule, clip = RetinaFace_MobileNet025(), Momentum(0.9, 5e-4), ClipGradByNorm(1.0)
    net.train()
    given = {"frozen": (), "state_names": rule.state_names, "no_weight_decay": ()}
    dense, precision = trained_parameters(net, clip=clip, **given), Precision()
    training = Training(
        network=DataParallel(net),
        task=DetectionTraining(LossConfig()),
        updater=Updater(dense, rule=rule, clip=clip, scaler=precision.scaler),
        precision=precision,
        schedule=lambda time: 1e-3,
        loader=None,
        progress=Progress(epochs=1, num_images=0, steps_per_epoch=9, global_batch=2),
    )
    face = np.array([[0.1, 0.1, 0.5, 0.6, *[0.3] * 10, 1]])
    batch = Batch({"images": golden_images(1, 2, 64, 64), **padded([face, face[:0]])})
    train_step(training, batch, lr=1e-3)  # the first makes the vector
    counter = launch_counter.LaunchCounter()
    updater = training.updater
    updater.squares = counter.in_phase("update", updater.squares)
    updater.step = counter.in_phase("update", updater.step)
    with counter.counting():
        train_step(training, batch, lr=1e-3)
    assert counter.counts["waits"].total() == 1
    assert counter.counts["launches"]["update"] <= 1.5 * len(dense.weights) + 60
