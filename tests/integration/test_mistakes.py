"""A user's mistakes end a run with one line that names key, value and remedy, and no traceback.

One mistake of each kind, by where it is found out; unit/config/test_mistakes.py has the keys.
"""

import pytest

MISTAKES = [
    ("Global.epoch=3", "Global.epoch: unknown key; did you mean 'epochs'?"),
    ("Model.name=IResNet51", "did you mean 'IResNet50'?"),
    ("Model.num_featurs=3", "Model.num_featurs: unknown key; did you mean 'num_features'?"),
    ("Optimizer.name=Momentun", "did you mean 'Momentum'?"),
    ("Optimizer.momentum=fast", "Optimizer.momentum must be a number"),
    ("Loss.Train.0.MarginLoss.m4=1", "MarginLoss.m4: unknown key"),
    ("Loss.Train=[{'MagFace': {'l_a': 110, 'u_a': 10}}]", "l_a must be below u_a, got 110 and 10"),
    ("LRScheduler.learning_rate=-1", "LRScheduler.learning_rate must be a number at least 0"),
    ("Global.device=gpu", "-o Global.device=cpu"),
    ("Model.class_num=3", "set Model.class_num to 5 or more"),
    ("Global.accum_steps=4", "cannot be split into"),
    ("Global.checkpoint=nowhere/latest", "nowhere/latest does not exist"),
    ("Global.pretrained_model=nowhere", "nowhere.pdparams does not exist"),
    ("DataLoader.Train.dataset.cls_label_path=none.txt", "none.txt"),
    ("DataLoader.Train.dataset.transform_ops.0.DecodeImage.rgb=True", "rgb: unknown key"),
    ("LRScheduler.learning_rate=__import__('os').system('touch pwned')", "learning_rate must be"),
]


@pytest.mark.parametrize(("override", "line"), MISTAKES, ids=[item[0] for item in MISTAKES])
def test_one_line_for_a_mistake(run, override, line):
    assert line in run.refused("train", override)
    assert not (run.folder / "pwned").exists()
    assert not (run.output / "latest").exists()


def test_missing_sections_are_named(run):
    for section in ("Model", "Optimizer", "LRScheduler", "Loss"):
        kept = run.config.pop(section)
        assert section in run.refused("train")
        run.config[section] = kept


def test_sections_that_a_command_does_not_need_may_be_missing(run, small_checkpoint):
    for section in ("Loss", "LRScheduler", "Optimizer", "DistributedStrategy"):
        del run.config[section]
    del run.config["DataLoader"]["Train"]
    done = run("eval", f"Global.pretrained_model={small_checkpoint}")
    assert "accuracy-flip" in done.stdout


def test_eval_and_export_need_weights(run):
    for command in ("eval", "export"):
        assert f"plsc-{command} needs weights" in run.refused(command)
