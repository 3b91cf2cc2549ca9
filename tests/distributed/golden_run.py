"""One golden trajectory, by the training step itself: golden_run.py TRAJECTORY.json OUT.json.

Run in as many processes as the trajectory has ranks.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import paddle
from conftest import REAL_FACES
from filled_nets import filled
from small_training import faces, training_of

from plsc.distributed import world
from plsc.distributed.sharding import RowShard
from plsc.engine.trainer import train_step
from plsc.engine.training import Training
from plsc.optimizer.clip import ClipGradByGlobalNorm
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.margin import MarginLoss
from plsc.recognition.models.iresnet import IResNet18
from plsc.scheduler.decay import Poly

NUM_FEATURES = 512


def images_of(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """All images [n,3,112,112] uint8 RGB of the trajectory, in order, and their labels."""
    count = case["ranks"] * case["batch_per_rank"] * case["steps"]
    if "image_seed" in case:
        pictures = [
            np.random.RandomState(case["image_seed"] + i).randint(0, 256, (112, 112, 3))
            for i in range(count)
        ]
        labels = [7 * i % 30 for i in range(count)]
    else:
        import cv2

        from plsc.data.records.record_index import read_index
        from plsc.data.records.recordio import RecordFile

        keys, starts = read_index(REAL_FACES / "train.idx")
        records = RecordFile(REAL_FACES / "train.rec")
        offsets = dict(zip(keys, starts.tolist(), strict=True))
        read = [records.read(offsets[key]) for key in case["image_ids"]]
        pictures = [
            cv2.imdecode(np.frombuffer(record.payload, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            for record in read
        ]
        labels = [int(record.labels[0]) for record in read]
    return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.uint8), np.array(labels, np.int64)


def build(case: dict) -> Training:
    """The trajectory's network and head with its weights, ready for `train_step`."""
    place, seed = world.current(), case["weight_seed"]
    backbone = IResNet18(num_features=NUM_FEATURES)
    filled(backbone, seed)
    backbone.features.weight.set_value(np.ones(NUM_FEATURES, np.float32))
    random = np.random.RandomState((zlib.crc32(b"head.weight") + seed) % 2**32)
    weight = 0.01 * random.randn(case["classes"] * NUM_FEATURES)
    weight = weight.reshape(case["classes"], NUM_FEATURES).astype(np.float32)
    shard = RowShard(case["classes"], place.rank, place.size)
    rule = Momentum(momentum=0.9, weight_decay=case["weight_decay"])
    head = PartialFC(
        ClassCentres.of(shard, weight[shard.start : shard.stop], state_names=rule.state_names),
        [(1.0, MarginLoss(m1=1.0, m2=case["m2"], m3=case["m3"], s=case["s"]))],
    )
    clip = case["clip_norm"] and ClipGradByGlobalNorm(case["clip_norm"], no_clip_list=["dist"])
    return training_of(
        backbone,
        head,
        rule,
        clip=clip,
        frozen=backbone.frozen_names,
        schedule=Poly(learning_rate=case["base_lr"], epochs=1, steps_per_epoch=case["steps"]),
        progress={
            "steps_per_epoch": case["steps"],
            "global_batch": case["ranks"] * case["batch_per_rank"],
        },
    )


def main(case_file: str, out: str) -> None:
    """Train and write the trajectory and some final weights."""
    case = json.loads(Path(case_file).read_text())
    place = world.init()
    assert place.size == case["ranks"]
    pixels, labels = images_of(case)
    training, steps = build(case), []
    for step in range(case["steps"]):
        start = (step * place.size + place.rank) * case["batch_per_rank"]
        mine = slice(start, start + case["batch_per_rank"])
        images = ((pixels[mine] / 255.0 - 0.5) / 0.5).astype(np.float32)
        lr = training.schedule(training.progress.time)
        report = train_step(training, faces(images, labels[mine]), lr=lr)
        training.progress.advance()
        steps.append({"loss": report.loss, "backbone_grad_norm": report.grad_norm, "lr": lr})
    backbone, shard = training.network.layer, training.task.head.centres.shard
    found = {
        "trajectory": steps,
        "features_bias": backbone.features.bias.numpy().tolist(),
        "features_weight": backbone.features.weight.numpy().tolist(),
        "conv1": backbone.conv1.weight.numpy().ravel().tolist(),
        "first_class": shard.start,
        "head": training.task.head.centres.read("weight").tolist(),
    }
    Path(f"{out}.{place.rank}").write_text(json.dumps(found))


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
