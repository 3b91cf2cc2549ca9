"""The head that a config asks for."""

import pytest
from places import CONFIGS

from plsc.config.load import load_config
from plsc.engine.build import check_training
from plsc.errors import UserError
from plsc.recognition.build import build_head

CONFIG = next(
    path for path in sorted((CONFIGS).glob("*.yaml")) if "AdamW" in path.read_text(encoding="utf-8")
)


def config_of(**settings):
    options = [f"Model.pfc_config.{name}={value}" for name, value in settings.items()]
    return load_config(CONFIG, ["Model.class_num=200", "Global.use_visualdl=False", *options])


@pytest.mark.parametrize("storage", ["device", "host", "file"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_storage_and_dtype(storage, dtype, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = {"storage_dir": "elsewhere"} if storage == "file" else {}
    config = config_of(storage=storage, dtype=dtype, **elsewhere)
    head = build_head(config, 8, ("velocity",))
    assert head.centres.dtype == dtype
    assert head.centres.names == ["weight", "velocity"]
    assert head.centres.prefetches == (storage == "file")
    assert (tmp_path / "elsewhere").exists() == (storage == "file")


def test_files_are_in_the_output_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of(storage="file")
    build_head(config, 8, ("velocity",))
    assert (tmp_path / config.Global.output_dir / config.Model.name).is_dir()


def test_squares_of_gradients_are_too_small_for_float16():
    with pytest.raises(UserError, match=r"Model\.pfc_config\.dtype is float16.*use bfloat16"):
        check_training(config_of(dtype="float16"))
    check_training(config_of(dtype="bfloat16"))
