"""The shipped configs of detectors: every part is known, and MindFace's settings are met."""

import json
import re

import pytest
from places import configs_of

from plsc.config.component import components
from plsc.config.load import dump_config, load_config
from plsc.config.registry import CLIPS, DATASETS, DETECTORS, OPTIMIZERS, SCHEDULES, TRANSFORMS
from plsc.data.transforms.face_crop import RandCropFaces
from plsc.engine.build import check_components, check_training

FILES = configs_of("detection")
# Detector -> pixels, epochs, learning rate, warm-up, decay, clipping: as MindFace has them.
MINDFACE = {
    "RetinaFace_MobileNet025": (640, 120, 0.02, 5, 5e-4, None),
    "RetinaFace_ResNet50": (840, 70, 0.04, -1, 1e-4, 1.0),
}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_every_name_and_parameter_is_known(path, tmp_path):
    config = load_config(path)
    check_components(config)
    check_training(load_config(path, ["Model.body_weights=null"]))
    config.DataLoader.Train.dataset.check(DATASETS)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_its_first_lines_are_a_lab_note(path):
    lines = path.read_text().splitlines()
    head = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert f"plsc-train -c configs/{path.name}" in head
    for words in ("Hardware", "Time", "(Expected|Result)"):
        assert re.search(rf"^# {words}:(\n#  )? +\S", head, re.M), words


@pytest.mark.parametrize("name", MINDFACE)
def test_settings_of_mindface(name, golden):
    (path,) = (path for path in FILES if path.stem == f"{name}_WIDERFace")
    config, (size, epochs, lr, warmup, decay, clip) = load_config(path), MINDFACE[name]
    assert config.Model.detector.build(DETECTORS) and config.Global.epochs == epochs
    train = config.DataLoader.Train
    assert train.sampler.batch_size == 16 and train.sampler.drop_last
    steps = [item.build(TRANSFORMS) for item in
             components(train.dataset.params["transform_ops"], "ops")]  # fmt: skip
    (crop,) = (step for step in steps if isinstance(step, RandCropFaces))
    assert (crop.size, crop.scale, crop.whole) == (size, (0.3, 1.0), 0.2)
    rule = config.Optimizer.rule.build(OPTIMIZERS)
    assert (rule.momentum, rule.weight_decay) == (0.9, decay)
    clipping = config.Optimizer.grad_clip
    if clip is None:
        assert clipping is None
    else:
        built = clipping.build(CLIPS)
        assert built.by_tensor and built.clip_norm == clip
    cases = json.loads((golden / "detection" / "schedules.json").read_text())["learning_rate"]
    case = next(c for c in cases if (c["initial_lr"], c["warmup_epoch"]) == (lr, warmup))
    schedule = config.LRScheduler.build(
        SCHEDULES, epochs=epochs, steps_per_epoch=case["steps_pre_epoch"]
    )
    assert [schedule(step) for step in case["step"]] == pytest.approx(case["lr"], rel=1e-7)
    weights = config.Loss.loc_weight, config.Loss.class_weight, config.Loss.landm_weight
    assert weights == (2.0, 1.0, 1.0)
