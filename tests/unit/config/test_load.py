"""A config file as dataclasses: PLSC's files as they are, and what is not written in them."""

import dataclasses
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from plsc.config import yaml_tree
from plsc.config.component import Component, components
from plsc.config.load import dump_config, parse_config, require
from plsc.config.registry import Registry
from plsc.config.sections import GlobalConfig
from plsc.errors import UserError

PLSC = (GOLDEN / "plsc_face.yaml").read_text()  # PLSC's habits


def test_one_verification_set_or_several(load):
    one = load().DataLoader.Eval.dataset
    assert [item.key for item in one] == ["DataLoader.Eval.dataset"]
    sets = "[{'name': 'A', 'bin_path': 'a.bin'}, {'name': 'B', 'bin_path': 'b.bin'}]"
    config = load(f"DataLoader.Eval.dataset={sets}", "DataLoader.Eval.dataset.1.bin_path=c.bin")
    assert [item.name for item in config.DataLoader.Eval.dataset] == ["A", "B"]
    assert config.DataLoader.Eval.dataset[1].params == {"bin_path": "c.bin"}
    assert config.DataLoader.Eval.dataset[1].key == "DataLoader.Eval.dataset.1"
    for resolved in (config, load()):
        assert parse_config(resolved.to_dict()) == resolved
    assert isinstance(load().to_dict()["DataLoader"]["Eval"]["dataset"], dict)
    with pytest.raises(UserError, match="DataLoader.Eval.dataset is empty: name at least one"):
        load("DataLoader.Eval.dataset=[]")
    with pytest.raises(UserError, match=r"DataLoader.Train.dataset must be"):
        load(f"DataLoader.Train.dataset={sets}")


def test_a_plsc_file_as_it_is(load):
    config = load()
    run = config.Global
    assert (run.epochs, run.accum_steps, run.seed, run.max_train_step) == (40, 2, 0, 200)
    assert (run.eval_unit, run.eval_interval, run.device) == ("step", 4000, "gpu")
    assert config.FP16.GradScaler.max_loss_scaling == 2.0**32
    assert config.FP16.fp16_custom_black_list == ("elementwise_add",)
    assert config.DistributedStrategy.recompute.layerlist_interval == 2
    assert config.Model.name == "FaceViT_base_patch9_112" and config.Model.class_num == 2059906
    assert config.Model.backbone.params == {"mask_ratio": 0.05, "num_features": 512}
    assert config.Model.pfc_config.sample_ratio == 0.3 and not config.Model.pfc_config.sparse_update
    (term,) = config.Loss.Train
    assert (term.weight, term.loss.name) == (1.0, "MarginLoss")
    assert term.loss.params == {"m1": 1.0, "m3": 0.4}
    assert config.LRScheduler.params["learning_rate"] == 0.001
    assert config.Optimizer.rule.params["eps"] == 1e-8
    assert config.Optimizer.rule.params["weight_decay"] == 5e-4
    assert config.Optimizer.no_weight_decay_name == ("bias",)
    assert config.Optimizer.grad_clip.params["clip_norm_max"] == 1.0
    train = config.DataLoader.Train
    assert (train.sampler.batch_size, train.loader.num_workers) == (256, 8)
    assert train.dataset.params["transform_ops"][1] == {"ToCHWImage": None}
    assert set(train.dataset.params) == {"image_root", "cls_label_path", "transform_ops"}
    assert config.DataLoader.Eval.loader.num_workers == 0
    assert config.Metric.Eval[0].params == {"flip_test": True}
    assert config.Export.input_shape == (None, 3, 112, 112) and config.Export.opset == 17
    assert config.Export.preprocessing == "none" and not config.Export.fp16


def test_keys_without_effect_are_said_once_each(load):
    said = [note.split(" has no effect")[0] for note in load().notes]
    assert sorted(said) == sorted(
        [
            *(f"Global.{name}" for name in ("train_epoch_func", "eval_func")),
            *("Global.flags", "Global.use_dali", "DistributedStrategy.data_sharding"),
            *("FP16.GradScaler.no_unscale_list", "Optimizer.use_master_param"),
            "Loss.Train.0.MarginLoss.model_parallel",
            "DataLoader.Train.loader.use_shared_memory",
        ]
    )
    notes = load("Model.pfc_config.model_parallel=False", "profiler_options=None").notes
    assert any(note.startswith("Model.pfc_config.model_parallel: False has no") for note in notes)
    assert any(note.startswith("profiler_options has no effect") for note in notes)
    assert load(text="Global: {epochs: 1}").notes == ()


def test_defaults_of_a_small_file(load):
    config = load(text="Model: {name: X}")
    assert config.FP16 is None and config.Loss is None and config.LRScheduler is None
    assert config.Global == GlobalConfig()
    assert config.Global.rank_timeout == 20 and config.Global.epochs is None
    assert config.Model.pfc_config.sample_ratio == 1
    assert config.DataLoader.Train is None and config.Metric.Eval == ()
    assert load(text="FP16: {}").FP16.level == "O1"
    assert load(text="FP16: {}").FP16.GradScaler.init_loss_scaling == 27648
    assert load(text="FP16:\nModel:\n").FP16 is None
    assert load("FP16.level=O0", text="Model: {name: X}").FP16.level == "O0"


def test_class_centres_in_all_forms(load):
    pfc = load().Model.pfc_config
    assert (pfc.storage, pfc.dtype, pfc.storage_dir) == ("device", "float32", None)
    assert pfc.interclass_filtering_threshold == 0
    text = """
    Model:
      name: X
      pfc_config:
        sample_ratio: [[0, 0.1], [0.8, 1.0]]
        storage: file
        dtype: bfloat16
        storage_dir: /disk
        interclass_filtering_threshold: 0.4
    """
    config = load(text=text)
    pfc = config.Model.pfc_config
    assert pfc.sample_ratio == ((0.0, 0.1), (0.8, 1.0))
    assert (pfc.storage, pfc.dtype, pfc.storage_dir) == ("file", "bfloat16", "/disk")
    assert pfc.interclass_filtering_threshold == 0.4
    assert load(text=dump_config(config)) == config
    overridden = load("Model.pfc_config.sample_ratio=[[0, 1/4]]").Model.pfc_config
    assert overridden.sample_ratio == ((0.0, 0.25),)


def test_sections_are_frozen(load):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().Global.epochs = 3


def test_require_names_what_the_command_needs():
    assert require(0, "x", "training") == 0
    with pytest.raises(
        UserError, match=r"^DataLoader.Train is missing from the config: training n"
    ):
        require(None, "DataLoader.Train", "training")


def test_the_resolved_config_loads_as_the_same(load, tmp_path):
    config = load()
    again = load(text=dump_config(config))
    assert again == config and again.notes == ()
    assert dump_config(again) == dump_config(config)
    assert "rank_timeout: 20.0" in dump_config(config)
    assert yaml.safe_load(dump_config(config))["Model"]["class_num"] == 2059906


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["momentum", "eps", "x"]),
        st.floats(allow_nan=False) | st.text(max_size=8) | st.booleans() | st.none(),
    ),
    st.integers(1, 10**12),
    st.floats(min_value=1e-9, max_value=1),
    st.text(max_size=20).filter(lambda path: path[:1] != "~" and "$" not in path),  # see expand
    st.lists(st.text(max_size=5), max_size=3),
)
def test_any_values_come_back_from_the_resolved_config(params, classes, ratio, folder, names):
    tree = yaml_tree.parse(PLSC, "x.yaml")
    del tree["Optimizer"]["epsilon"]
    tree["Optimizer"] |= params
    tree["Optimizer"]["no_weight_decay_name"] = names
    tree["Model"] |= {"class_num": classes, "pfc_config": {"sample_ratio": ratio}}
    tree["Global"]["output_dir"] = folder
    config = parse_config(tree)
    assert parse_config(yaml_tree.parse(dump_config(config), "y.yaml")) == config
    assert config.Global.output_dir == folder and config.Model.class_num == classes


def test_a_list_of_losses_takes_plain_names():
    assert [part.name for part in components(["A", {"B": None}, {"C": {"x": 1}}], "k")] == [*"ABC"]


def test_components_are_checked_and_built():
    table = Registry("part", [])

    @table.register
    def Part(size: int, steps: int = 2):
        return size, steps

    part = Component("Part", {"size": "3"}, "Model", ("name", "class_num"))
    assert part.build(table) == (3, 2)
    assert part.build(table, steps=7) == (3, 7)
    assert part.check(table, supplied=["steps"]) == {"size": 3}
    with pytest.raises(
        UserError, match=r"Model.name: no part is called 'Pat'; did you mean 'Part'"
    ):
        Component("Pat", {}, "Model", ("name",)).check(table)
    with pytest.raises(UserError, match=r"Loss.Train.0.Pat: no part is called 'Pat'"):
        Component("Pat", {}, "Loss.Train.0.Pat").check(table)
    with pytest.raises(UserError, match=r"Model.class_nums: unknown key; did you mean 'class_num'"):
        Component("Part", {"class_nums": 3}, "Model", ("name", "class_num")).check(table)
    with pytest.raises(UserError, match=r"Model.steps: unknown key"):
        Component("Part", {"size": 1, "steps": 1}, "Model").build(table, steps=3)
    with pytest.raises(UserError, match=r"Model.size is missing"):
        Component("Part", {}, "Model").check(table)


def test_reading_a_config_does_not_import_paddle():
    code = "import sys, plsc.config.load; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
