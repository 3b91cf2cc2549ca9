"""Every shipped config: it loads, its components exist and take its parameters, its head says how.

The folder is listed, so that a new file is tested by lying there.
"""

import re

import pytest
import yaml
from places import CONFIGS, configs_of

from plsc.config.component import components
from plsc.config.load import dump_config, load_config
from plsc.config.registry import (
    BACKBONES,
    CLIPS,
    DATASETS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    SCHEDULES,
    TRANSFORMS,
)
from plsc.weights.preparation import preparation_notes
from plsc.weights.torch_weights import MAGFACE_PIXELS
from plsc.weights.weights import Weights

FILES = configs_of("recognition")

VIT = "FaceViT_{}_patch9_112_WebFace42M_CosFace_{}_1n8c_dp_mp_fp16o1"
# Name -> sample ratio, m2, m3, batch, epochs, rate, warm-up, optimizer, decay, always clip, drop
# path, masked, format, evaluation interval, checkpoints kept, print interval: as PLSC has them.
PUBLISHED = {
    "IResNet50_MS1MV3_ArcFace_pfc10_1n8c_dp_mp_fp16o1":
        (1.0, 0.5, 0, 128, 20, 0.1, {"warmup_steps": 0}, "Momentum", 5e-4, True,
         None, None, "NHWC", 2000, 0, 100),
    "IResNet50_MS1MV3_ArcFace_pfc01_1n8c_dp_mp_fp16o1":
        (0.1, 0.5, 0, 128, 20, 0.1, {"warmup_steps": 0}, "Momentum", 5e-4, True,
         None, None, "NHWC", 2000, 0, 100),
    "IResNet100_WebFace42M_CosFace_pfc02_1n8c_dp_mp_fp16o1":
        (0.2, 0, 0.4, 128, 20, 0.1, {}, "Momentum", 5e-4, False,
         None, None, "NHWC", 10370, 0, 10),
    "MobileFaceNet_WebFace42M_CosFace_pfc02_1n8c_dp_mp_fp16o1":
        (0.2, 0, 0.4, 256, 20, 0.1, {"warmup_steps": 2, "warmup_end_lr": 0.1}, "Momentum", 1e-4,
         True, None, None, "NHWC", 10000, 0, 100),
    VIT.format("tiny", "pfc10_droppath005_mask0"):
        (1.0, 0, 0.4, 256, 40, 0.001, {"warmup_epochs": 4, "warmup_end_lr": 0.001}, "AdamW", 0.1,
         False, 0.05, 0.0, None, 4000, 5, 200),
    VIT.format("tiny", "pfc02_droppath005_mask0"):
        (0.2, 0, 0.4, 256, 40, 0.001, {"warmup_epochs": 4, "warmup_end_lr": 0.001}, "AdamW", 0.1,
         False, 0.05, 0.0, None, 4000, 5, 200),
    VIT.format("base", "pfc03_droppath005_mask005"):
        (0.3, 0, 0.4, 256, 40, 0.001, {"warmup_epochs": 4, "warmup_end_lr": 0.001}, "AdamW", 0.1,
         False, 0.05, 0.05, None, 4000, 0, 10),
}  # fmt: skip

MAGFACE = Weights("x.pth", {}, trained_on=MAGFACE_PIXELS, trained_by="MagFace")
LIKE_MAGFACE = {
    "num_features": 512, "data_format": "NHWC", "dropout": 0.4, "dropout_of": "channels",
    "feature_scale": "trained", "bn_epsilon": 2e-5, "conv_init": "kaiming",
}  # fmt: skip
MAGNITUDE = {"l_a": 10, "u_a": 110, "u_m": 0.8, "s": 64.0}
# Name -> classes, loss and its parameters: as MagFace's scripts have them.
MAGFACES = {
    "IResNet100_MS1MV2_MagFace":
        (85742, "MagFace", MAGNITUDE | {"l_m": 0.45, "lambda_g": 35, "easy_margin": True}),
    "IResNet50_MS1MV2_MagFace":
        (85742, "MagFace", MAGNITUDE | {"l_m": 0.45, "lambda_g": 35, "easy_margin": True}),
    "IResNet50_MS1MV2_MagCosFace":
        (85742, "MagCosFace", MAGNITUDE | {"l_m": 0.35, "lambda_g": 150}),
    "IResNet18_CASIA_MagFace":
        (10572, "MagFace", MAGNITUDE | {"l_m": 0.45, "lambda_g": 35, "easy_margin": True}),
    "IResNet18_CASIA_ArcFace":
        (10572, "MarginLoss", {"m1": 1.0, "m2": 0.5, "m3": 0.0, "s": 64.0}),
}  # fmt: skip


@pytest.fixture(params=FILES, ids=lambda path: path.stem[:40])
def path(request):
    return request.param


@pytest.mark.parametrize(
    "path",
    [*FILES, CONFIGS.parent / "tests/golden/plsc_face.yaml"],
    ids=lambda path: path.stem[:40],
)
def test_every_name_and_parameter_is_known(path):
    config = load_config(path)
    config.Model.backbone.check(BACKBONES)
    for term in config.Loss.Train:
        term.loss.check(LOSSES)
    config.LRScheduler.check(SCHEDULES, supplied=["epochs", "steps_per_epoch"])
    config.Optimizer.rule.check(OPTIMIZERS)
    for metric in config.Metric.Eval:
        metric.build(METRICS)
    for dataset in (config.DataLoader.Train.dataset, *config.DataLoader.Eval.dataset):
        params = dataset.check(DATASETS)
        key = f"{dataset.key}.transform_ops"
        for transform in components(params.get("transform_ops", []), key):
            transform.build(TRANSFORMS)


def test_it_can_be_trained_evaluated_and_exported_as_it_is(path):
    config = load_config(path)
    assert config.Model.class_num and config.Global.epochs
    assert config.DataLoader.Train and config.DataLoader.Eval and config.Metric.Eval
    assert config.Export.input_shape == (None, 3, 112, 112)
    # The published NHWC networks are exported by this override, as PLSC's manual has it.
    load_config(path, ["Model.data_format=NCHW", "FP16.level=O0"])


def test_the_resolved_config_loads_as_the_same(path, tmp_path):
    config = load_config(path)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_its_first_lines_are_a_lab_note(path):
    lines = path.read_text().splitlines()
    head = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert "plsc-train" in head and f"-c configs/{path.name}" in head
    for words in ("Hardware", "Time", "(Expected|Result)"):
        assert re.search(rf"^# {words}:(\n#  )? +\S", head, re.M), (
            f"{path.name} does not say {words}"
        )


@pytest.mark.parametrize("stem", PUBLISHED)
def test_published_values(stem):
    config = load_config(CONFIGS / f"{stem}.yaml")
    (ratio, m2, m3, batch, epochs, rate, warmup, rule, decay, always, drop, masked, data_format,
     interval, kept, shown) = PUBLISHED[stem]  # fmt: skip
    run, params = config.Global, config.Model.params
    wanted = stem.split("_")[0].replace("MobileFaceNet", "MobileFaceNet_base")
    assert config.Model.name.startswith(wanted)
    assert config.Model.class_num == (93431 if "MS1MV3" in stem else 2059906)
    assert config.Model.pfc_config.sample_ratio == ratio and config.Model.pfc_config.model_parallel
    assert config.Model.pfc_config.sparse_update == ("pfc10_droppath" not in stem)
    (term,) = config.Loss.Train
    assert term.loss.params == {"m1": 1.0, "m2": m2, "m3": m3, "s": 64.0} and term.weight == 1
    for data, size in ((config.DataLoader.Train, batch), (config.DataLoader.Eval, 128)):
        assert data.sampler.batch_size == size and not data.sampler.drop_last
    assert (run.epochs, run.seed, run.accum_steps, run.device) == (epochs, 2022, 1, "gpu")
    assert (run.eval_interval, run.eval_unit) == (interval, "step")
    assert (run.max_num_latest_checkpoint, run.print_batch_step) == (kept, shown)
    assert config.LRScheduler.name == "Poly"
    assert config.LRScheduler.params == {"learning_rate": rate, "decay_unit": "step", **warmup}
    assert config.Optimizer.name == rule
    assert config.Optimizer.params["weight_decay"] == decay
    clip = config.Optimizer.grad_clip.build(CLIPS)
    assert (clip.clip_norm, clip.clip_norm_max, clip.no_clip_list) == (5.0, None, ("dist",))
    assert clip.always_clip is always
    assert params["num_features"] == 512 and params.get("data_format") == data_format
    assert (params.get("drop_path_rate"), params.get("mask_ratio")) == (drop, masked)
    assert config.FP16.level == "O1" and config.FP16.GradScaler.init_loss_scaling == 27648


@pytest.mark.parametrize("stem", PUBLISHED)
def test_keys_are_plscs(stem):
    """A published file holds no key that PLSC's does not have."""
    tree = yaml.safe_load((CONFIGS / f"{stem}.yaml").read_text())
    assert list(tree) == [
        *("Global", "FP16", "DistributedStrategy", "Model", "Loss", "LRScheduler", "Optimizer"),
        *("DataLoader", "Metric", "Export"),
    ]
    assert set(tree["Global"]) == {
        *("task_type", "train_epoch_func", "eval_func", "checkpoint", "pretrained_model"),
        *("output_dir", "device", "save_interval", "max_num_latest_checkpoint"),
        *("eval_during_train", "eval_interval", "eval_unit", "accum_steps", "epochs"),
        *("print_batch_step", "use_visualdl", "seed"),
    }


def magface(name):
    return load_config(CONFIGS / f"{name}_pfc10_1n8c_dp_mp_fp16o1.yaml")


@pytest.mark.parametrize("name", MAGFACES)
def test_values_of_magface(name):
    config = magface(name)
    classes, loss, params = MAGFACES[name]
    (term,) = config.Loss.Train
    assert (term.loss.name, dict(term.loss.params), term.weight) == (loss, params, 1)
    assert config.Model.name == name.split("_")[0] and config.Model.class_num == classes
    assert dict(config.Model.backbone.check(BACKBONES)) == LIKE_MAGFACE
    assert (config.Global.epochs, config.DataLoader.Train.sampler.batch_size * 8) == (25, 512)
    schedule = config.LRScheduler.build(SCHEDULES, epochs=25, steps_per_epoch=10)
    rates = [round(schedule(epoch * 10 + step), 9) for epoch in range(25) for step in (0, 9)]
    assert rates == [0.1] * 20 + [0.01] * 16 + [0.001] * 8 + [0.0001] * 6
    optimizer = config.Optimizer
    assert (optimizer.name, optimizer.grad_clip) == ("Momentum", None)
    assert optimizer.params == {"momentum": 0.9, "weight_decay": 5e-4}
    assert not optimizer.no_weight_decay_name
    (note,) = preparation_notes(MAGFACE, config)
    assert "WARNING" not in note


def test_values_of_magfaces_fine_tuning():
    config = magface("IResNet50_MS1MV2_MagFace_finetune")
    (term,) = config.Loss.Train
    said = {"l_a": 1, "u_a": 51, "l_m": 0.45, "u_m": 1.0, "lambda_g": 5, "s": 64.0}
    assert (term.loss.name, dict(term.loss.params)) == ("MagFace", said | {"easy_margin": True})
    assert config.Global.pretrained_model and config.Global.finetune
    assert config.Model.backbone.check(BACKBONES)["feature_scale"] == "trained"
    assert len(preparation_notes(MAGFACE, config)) == 2  # it is for weights of ArcFace


@pytest.mark.parametrize("path", [path for path in FILES if "Mag" in path.name])
def test_lambda_g_is_above_its_bound_which_the_file_may_name(path):
    (term,) = load_config(path).Loss.Train
    loss = term.loss.build(LOSSES)
    assert loss.lambda_g > loss.bound()
    for named in re.findall(r"lambda_g: \d+  # at least ([\d.]+) for", path.read_text()):
        assert float(named) == pytest.approx(loss.bound(), abs=0.005)
