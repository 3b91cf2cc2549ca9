"""Starting from weights: ours, PLSC's, other classes, frozen backbone."""

import json

import numpy as np
import pytest
from checkpoints import assert_equal, backbone_of, head_of
from filled_nets import embeddings
from onnx_models import optimised
from places import SHARED_DATA
from safetensors.numpy import load_file

PLSC_CHECKPOINT = SHARED_DATA / "plsc_checkpoint"


def finetuned(run, weights, *overrides, **options):
    """A run that begins with a backbone."""
    start = f"Global.pretrained_model={weights}", "Global.finetune=True"
    return run("train", *start, *overrides, **options)


ONE_STEP_OF_0 = "Global.max_train_step=1", "LRScheduler.learning_rate=0"


def test_finetune_starts_a_new_head_and_keeps_the_backbone(run, small_checkpoint):
    done = finetuned(run, small_checkpoint, "Model.class_num=9", *ONE_STEP_OF_0)
    assert "new head for 9 classes" in done.stdout
    now = run.output / "latest"
    old, new = backbone_of(small_checkpoint), backbone_of(now)
    moved = {name for name in old if not np.array_equal(old[name], new[name])}
    assert moved <= {name for name in old if name.endswith(("_mean", "_variance"))}
    assert head_of(now)["weight"].shape == (9, 32)


def test_other_classes_without_finetune_are_refused(run, small_checkpoint):
    for key in ("pretrained_model", "checkpoint"):
        start = f"Global.{key}={small_checkpoint}"
        assert "Global.finetune=True" in run.refused("train", start, "Model.class_num=9")


def test_frozen_backbone_and_head_multiplier(run, small_checkpoint):
    frozen = "Global.freeze_backbone=True", "Optimizer.head_lr_multiplier=3"
    finetuned(run, small_checkpoint, *frozen, "Global.max_train_step=2")
    now = run.output / "latest"
    assert_equal(backbone_of(now), backbone_of(small_checkpoint))  # running statistics too
    assert load_file(now / "backbone-optimizer.safetensors") == {}


def test_head_from_class_means(run, small_checkpoint):
    """Rows are the normalised mean embeddings of their classes' images, at random rows' length."""
    finetuned(run, small_checkpoint, "Global.head_init=class_means", *ONE_STEP_OF_0, size=2)
    rows = head_of(run.output / "latest")["weight"]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 0.01 * np.sqrt(32), rtol=1e-5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    # Colours are told apart by any network: means of different classes are not parallel.
    assert (unit @ unit.T)[~np.eye(5, dtype=bool)].max() < 0.9999


@pytest.mark.skipif(not PLSC_CHECKPOINT.exists(), reason="PLSC's checkpoint is not here")
def test_weights_that_plsc_saved(run):
    """Backbone and both head shards of PLSC's own files, through plsc-train."""
    run.config["Model"] = {"name": "MobileFaceNet_base", "num_features": 512, "class_num": 31}
    weights = f"Global.pretrained_model={PLSC_CHECKPOINT / 'latest'}"
    done = run("train", weights, *ONE_STEP_OF_0)
    assert "31 class centres" in done.stdout
    now = run.folder / "output" / "MobileFaceNet_base" / "latest"
    assert head_of(now)["weight"].shape == (31, 512)
    assert json.loads((now / "state.json").read_text())["num_classes"] == 31


@pytest.mark.skipif(not PLSC_CHECKPOINT.exists(), reason="PLSC's checkpoint is not here")
def test_embeddings_of_weights_that_plsc_saved():
    """The backbone in PLSC's files gives the embeddings that PLSC itself computed from them."""
    from plsc.recognition.models.mobilefacenet import MobileFaceNet_base
    from plsc.weights.pretrained import take_weights

    backbone, source = MobileFaceNet_base(), str(PLSC_CHECKPOINT / "latest")
    take_weights(source, backbone)
    pixels = np.random.RandomState(11).randint(0, 256, (2, 3, 112, 112))
    found = embeddings(backbone, pixels / 127.5 - 1)
    expected = np.load(PLSC_CHECKPOINT / "expected_embeddings.npy")
    found, expected = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, expected)
    )
    assert (found * expected).sum(axis=1).min() > 0.99999


def test_finetuning_from_folded_batch_norms(run):
    """An ONNX file without statistics: measured on all ranks alike, embeddings as in the file."""
    from plsc.export.convert import export_onnx
    from plsc.recognition.export_spec import embedding_spec, probe_images
    from plsc.recognition.models.small import QuickFace_nano
    from plsc.weights.pretrained import set_backbone

    net, given, path = QuickFace_nano(32), run.folder / "net.onnx", run.folder / "folded.onnx"
    export_onnx(net, given, embedding_spec(32))
    optimised(given, path)
    done = finetuned(run, path, *ONE_STEP_OF_0, size=2)
    log = (run.output / "train.log").read_text() + done.stdout
    assert "8 BatchNorms come multiplied into the layers before them" in log
    assert "statistics of 8 BatchNorms measured on 24 images" in log
    trained, images = QuickFace_nano(32), probe_images(4)
    weights = backbone_of(run.output / "latest")
    assert np.abs(weights["stem.1._variance"] - 1).max() > 0.1
    # one step has moved the running statistics by a tenth towards those of four images
    set_backbone(trained, weights, source="latest")
    found, expected = embeddings(trained, images), embeddings(net, images)
    cosines = (found * expected).sum(axis=1)
    cosines /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.9
