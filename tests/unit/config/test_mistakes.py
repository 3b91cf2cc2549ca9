"""Each kind of mistake in a config: one line that names the key, the value and the remedy."""

import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from plsc.config import yaml_tree
from plsc.config.load import parse_config
from plsc.config.sections import Config
from plsc.engine.build import check_components
from plsc.errors import UserError

PLSC = (GOLDEN / "plsc_face.yaml").read_text()  # PLSC's habits


MISTAKES = {
    "Global.epoch=3": "Global.epoch: unknown key; did you mean 'epochs'?",
    "Globl.epochs=3": "Globl: unknown section; did you mean 'Global'?",
    "Global=3": "Global must be a mapping, got 3",
    "Global.epochs=0": "Global.epochs must be a whole number at least 1 or null, got 0",
    "Global.epochs=abc": "Global.epochs must be a whole number at least 1 or null, got 'abc'",
    "Global.epochs=1.5": "got 1.5",
    "Global.seed=-1": "Global.seed must be a whole number at least 0, got -1",
    "Global.finetune=1": "Global.finetune must be True or False, got 1",
    "Global.output_dir=3": "Global.output_dir must be text, got 3",
    "Global.eval_unit=steps": "Global.eval_unit must be one of 'epoch', 'step', got 'steps'; did ",
    "Global.rank_timeout=0": "Global.rank_timeout must be a number above 0, got 0",
    "Global.device=xpu": "Global.device: xpu is not supported; use gpu or cpu",
    "Global.device=gpu0": "Global.device must be one of 'cpu', 'gpu', got 'gpu0'; did you mean 'gp",
    "Global.task_type=classification": "Global.task_type: classification is not supported; plsc tr",
    "Global.use_dali=True": "Global.use_dali: True is not supported; set it to False and give Dat",
    "Global.train_epoch_func=mine": "Global.train_epoch_func must be one of 'default_train_one_ep",
    "Global.flags=3": "Global.flags must be a mapping",
    "FP16.level=O2": "FP16.level: O2 is not supported; use O1",
    "FP16.dtype=fp16": "FP16.dtype must be one of 'float16', 'bfloat16', got 'fp16'",
    "FP16.GradScaler.init_scale=1": "FP16.GradScaler.init_scale: unknown key; did you mean 'init_l",
    "FP16.GradScaler.init_loss_scaling=0": "must be a number above 0, got 0",
    "FP16.fp16_custom_white_list=matmul": "FP16.fp16_custom_white_list must be a list or null",
    "DistributedStrategy.data_sharding=True": "data_sharding: True is not supported; remove it",
    "DistributedStrategy.recompute.names=[1]": "recompute.names.0 must be text, got 1",
    "DistributedStrategy.recompute.layerlist_interval=0": "must be a whole number at least 1, got",
    "Model.name=None": "Model.name must be text, got None",
    "Model.class_num=0": "Model.class_num must be a whole number at least 1",
    "Model.pfc_config.sample_ratio=0": "sample_ratio must be a number above 0 and at most 1 or a l",
    "Model.pfc_config.sample_ratio=1.1": "sample_ratio must be a number above 0 and at most 1",
    "Model.pfc_config.sample_ratio=[]": "sample_ratio must start with [0, ratio]: it is empty",
    "Model.pfc_config.sample_ratio=[[0.1, 1]]": "must start with [0, ratio]: it starts at 0.1",
    "Model.pfc_config.sample_ratio=[[0, 1], [0.5, 0.1], [0.5, 1]]": "must ascend, got 0.5 after 0",
    "Model.pfc_config.sample_ratio=[[0, 1], [1, 0.1]]": "ratio.1.0 must be a number at least 0 an",
    "Model.pfc_config.sample_ratio=[[0, 1], [0.5, 0]]": "sample_ratio.1.1 must be a number above ",
    "Model.pfc_config.sample_ratio=[0.1, 1]": "Model.pfc_config.sample_ratio.0 must be a list, go",
    "Model.pfc_config.sample_ratio=[[0, 1, 2]]": "sample_ratio.0 must hold 2 values, got [0, 1, 2]",
    "Model.pfc_config.storage=disk": "storage must be one of 'device', 'host', 'file', got 'disk'",
    "Model.pfc_config.storage_dir=x": "Model.pfc_config.storage_dir is for storage=file, got stor",
    # the file's sparse_update is False
    "Model.pfc_config.storage=host": "every class centre in every step: with storage=host set it ",
    "Model.pfc_config.storage=file": "every class centre in every step: with storage=file set it ",
    "Model.pfc_config.dtype=float64": "dtype must be one of 'float32', 'float16', 'bfloat16', got",
    "Model.pfc_config.interclass_filtering_threshold=1": "must be a number at least 0 and below 1",
    "Model.pfc_config.ratio=1": "Model.pfc_config.ratio: unknown key; did you mean 'sample_ratio'?",
    "Model.pfc_config=1": "Model.pfc_config must be a mapping, got 1",
    "Loss.Train=[]": "Loss.Train is empty: name at least one loss",
    "Loss.Train=None": "Loss.Train is missing",
    "Loss.Train=MarginLoss": "Loss.Train must be a list, got 'MarginLoss'",
    "Loss.Eval=[]": "Loss.Eval: unknown key",
    "Loss.Train.0={'A': {}, 'B': {}}": "Loss.Train.0 must be one name with its parameters, got {'",
    "Loss.Train.0.MarginLoss=3": "Loss.Train.0.MarginLoss must be a mapping, got 3",
    "Loss.Train.0.MarginLoss.weight=-1": "Loss.Train.0.MarginLoss.weight must be a number at least",
    "Loss.Train.0.MarginLoss.model_parallel=3": "model_parallel must be True or False, got 3",
    "LRScheduler={'learning_rate': 1}": "LRScheduler.name is missing",
    "LRScheduler.name=3": "LRScheduler.name must be text, got 3",
    "Optimizer.eps=1e-8": "Optimizer.epsilon and Optimizer.eps are the same setting; give one",
    "Optimizer.head_lr_multiplier=-1": "Optimizer.head_lr_multiplier must be a number at least 0",
    "Optimizer.grad_clip.name=ClipGradNorm": "Optimizer.grad_clip.name: no gradient clipping is ca",
    "Optimizer.grad_clip={'name': 'ClipGradByNorm', 'max': 1}": "grad_clip.max: unknown key",
    "Optimizer.grad_clip={'name': 'ClipGradByValue', 'max': 1, 'min': 1}": "must be below max 1.0",
    "Optimizer.grad_clip.clip_norm=0": "Optimizer.grad_clip.clip_norm must be a number above 0",
    "Optimizer.grad_clip={}": "Optimizer.grad_clip.clip_norm is missing",
    "DataLoader.Train.dataset=None": "DataLoader.Train.dataset is missing",
    "DataLoader.Train.dataset.name=None": "DataLoader.Train.dataset.name must be text",
    "DataLoader.Train.dataset.transform_ops=[]": "transform and DataLoader.Train.dataset.transfor",
    "DataLoader.Train.dataset.batch_transform=[Mixup]": "batch_transform: not supported; transfor",
    "DataLoader.Train.sampler.batch_size=0": "sampler.batch_size must be a whole number at least 1",
    "DataLoader.Train.sampler={}": "DataLoader.Train.sampler.batch_size is missing",
    "DataLoader.Train.sampler.name=RandomSampler": "must be one of 'DistributedBatchSampler', 'Ba",
    "DataLoader.Train.loader.num_workers=-1": "num_workers must be a whole number at least 0",
    "DataLoader.Train.loader.collate_fn=mine": "loader.collate_fn must be one of 'default_collate",
    "DataLoader.Test={}": "DataLoader.Test: unknown key",
    "Metric.Eval=LFWAcc": "Metric.Eval must be a list, got 'LFWAcc'",
    "Metric.Eval.0=3": "Metric.Eval.0 must be one name with its parameters, got 3",
    "Metric.best_set=3": "Metric.best_set must be text, got 3",
    "Metric.best=lfw": "Metric.best: unknown key; did you mean 'best_set'?",
    "Export.export_type=trt": "Export.export_type must be one of 'onnx', 'paddle', got 'trt'",
    "Export.input_shape=[0, 3, 112, 112]": "Export.input_shape.0 must be null or at least 1, got 0",
    "Export.input_shape=[None, 3, 112]": "Export.input_shape must hold 4 values, got [None, 3, 11",
    "Export.opset=3": "Export.opset must be a whole number at least 11",
    "Export.preprocessing=NHWC": "Export.preprocessing must be one of 'none', 'nhwc', 'nchw', got",
    "Export.preprocessing=True": "Export.preprocessing must be one of 'none', 'nhwc', 'nchw', got",
    "Export.fp16=1": "Export.fp16 must be True or False, got 1",
    "Export={'export_type': 'paddle', 'fp16': True}": "Export.fp16=True is for ONNX files only: s",
    "Export={'export_type': 'paddle', 'preprocessing': 'nchw'}": "preprocessing=nchw is for ONNX f",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_each_mistake_has_its_line(load, override):
    with pytest.raises(UserError, match=re.escape(MISTAKES[override])) as caught:
        check_components(load(override))
    assert "\n" not in str(caught.value)


def nodes(value, path=()):
    """Paths of everything in a tree."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(item, (*path, key))


JUNK = st.sampled_from(
    [None, True, -1, 0, 3, 1e400, -0.5, "", "x", "1/0", "None", "(1, 2", [], [[]], [None], {}]
    + [{"name": None}, {"name": "X"}, {"a b": [1]}, [{}], ["x"], [{"x": 1}], {"é\u2028": 1}]
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_config_loads_or_is_refused_in_one_line(data):
    tree = yaml_tree.parse(PLSC, "x.yaml")
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in nodes(tree) if path]))
        parent = tree
        for part in path[:-1]:
            parent = parent[part]
        junk = copy.deepcopy(data.draw(JUNK))  # a later mutation may reach into it
        action = data.draw(st.sampled_from(["replace", "delete", "add", "rename"]))
        if action == "replace":
            parent[path[-1]] = junk
        elif action == "delete":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            name = data.draw(st.sampled_from(["x", "name", "weight", "a\nb", "Train", "é"]))
            parent[name] = parent.pop(path[-1]) if action == "rename" else junk
    try:
        config = parse_config(yaml_tree.override(tree, []))
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert isinstance(config, Config)
        assert parse_config(config.to_dict()) == config
