"""The number of launches of an update that a GPU would run, whatever its settings are."""

import importlib.util

import numpy as np
import paddle
import pytest
from places import ROOT

from plsc.distributed.sharding import RowShard
from plsc.engine.precision import LossScaler
from plsc.engine.update import Updater
from plsc.optimizer.adamw import AdamW
from plsc.optimizer.arrangement import trained_parameters
from plsc.optimizer.clip import ClipGradByGlobalNorm, ClipGradByNorm, ClipGradByValue
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.models.mobilefacenet import MobileFaceNet_base

SPEC = importlib.util.spec_from_file_location(
    "launch_counter", ROOT / "tools" / "benchmark" / "launch_counter.py"
)
launch_counter = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(launch_counter)


@pytest.fixture(scope="module")
def network():
    return MobileFaceNet_base(num_features=16)


@pytest.mark.parametrize(
    "frozen", [(), ("layers.0.layers.0.weight",)], ids=["all", "a part frozen"]
)
@pytest.mark.parametrize("rule", [Momentum(0.9, 5e-4), AdamW()], ids=["Momentum", "AdamW"])
@pytest.mark.parametrize(
    "clip",
    [
        None,
        ClipGradByGlobalNorm(0.1, no_clip_list=("dist", "bn")),
        ClipGradByNorm(0.1, no_clip_list=("bn",)),
        ClipGradByValue(0.1),
    ],
    ids=lambda clip: type(clip).__name__,
)
def test_an_update_takes_one_and_a_half_launches_a_tensor_and_sixty(
    network, clip, rule, frozen, monkeypatch
):
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    dense = trained_parameters(
        network, frozen=frozen, state_names=rule.state_names, clip=clip, no_weight_decay=("bias",)
    )
    assert not dense.weights.keys() & set(frozen)
    centres = ClassCentres.of(RowShard(6), np.ones((6, 2), "float32"), state_names=rule.state_names)
    head = PartialFC(centres, [], lr_multiplier=2.0)
    updater = Updater(
        dense,
        [head],
        rule=rule,
        clip=clip,
        scaler=LossScaler(scale=1024.0),
        no_weight_decay=("bias",),
    )
    for step in (1, 2):  # the first makes the vector
        head.use_rows(None)
        (sum(each.sum() for each in dense.weights.values())).backward()
        head.rows.gradient.assign(paddle.ones([6, 2]))
        counter = launch_counter.LaunchCounter()
        with counter.counting():
            assert not updater.step(lr=0.1, step=step).overflow
    assert counter.counts["launches"].total() <= 1.5 * len(dense.weights) + 60
    assert counter.counts["waits"].total() == 1
