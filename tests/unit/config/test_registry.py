"""Registries: a builder is found by its own name, a file by lying in its folder."""

import sys
import textwrap

import pytest

from plsc.config import registry
from plsc.config.registry import Registry
from plsc.errors import UserError


@pytest.fixture
def folder_of_parts(tmp_path, monkeypatch):
    """A package with two modules; returns its name."""
    package = tmp_path / "parts_for_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("round", "square"):
        (package / f"{name}.py").write_text(
            textwrap.dedent(f"""
                from parts_for_test_registry import PARTS

                @PARTS.register
                def {name.title()}(size: int = 1):
                    return "{name}", size
            """)
        )
    (tmp_path / "parts_for_test_registry.py").write_text(
        "from plsc.config.registry import Registry\nPARTS = Registry('part', ['parts_for_test'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("parts_for_test_registry").PARTS
    for name in [name for name in sys.modules if name.startswith("parts_for_test")]:
        del sys.modules[name]


def test_a_file_registers_by_lying_there(folder_of_parts):
    assert folder_of_parts.names() == ["Round", "Square"]
    assert folder_of_parts.get("Round", "Model.name")(size=3) == ("round", 3)


def test_a_name_is_given_once():
    table = Registry("part", [])

    def Part():
        pass

    def again():
        pass

    again.__name__ = "Part"
    Part.__module__ = again.__module__ = "plsc.parts"
    table.register(Part)
    with pytest.raises(AssertionError, match="part Part twice"):
        table.register(again)


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("plsc.parts", "mine", "plsc itself and plug-in mine both have a part called Part: give"),
        ("mine", "plsc.parts", "plug-in mine and plsc itself both have a part called Part: give"),
        ("mine", "yours.nets", "plug-in mine and plug-in yours.nets both have a part called Part"),
        ("mine", "mine", "plug-in mine registers two parts as part Part"),
    ],
)
def test_a_name_of_a_plugin_that_is_taken(first, second, line):
    table = Registry("part", [])
    table.register(type("Part", (), {"__module__": first}))
    with pytest.raises(UserError, match=line):
        table.register(type("Part", (), {"__module__": second}))


def test_the_same_builder_may_be_entered_again():
    """A plug-in may hand on a class of another library, and be imported anew after an error."""
    table, part = Registry("part", []), type("Part", (), {})
    assert table.register(part) is part is table.register(part)


def test_a_module_is_imported_when_its_name_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "task_for_test.py").write_text(
        "import test_registry\n\n@test_registry.ON_DEMAND.register\ndef near():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    table = Registry("task", [], {"near": "task_for_test", "far": "no_such_module"})
    monkeypatch.setattr(sys.modules[__name__], "ON_DEMAND", table, raising=False)
    monkeypatch.setitem(sys.modules, "test_registry", sys.modules[__name__])
    assert table.names() == ["far", "near"]
    assert "task_for_test" not in sys.modules
    assert table.get("near", "Global.task_type")() == 3
    with pytest.raises(UserError, match=r"Global.task_type: no task is called 'nea'; did you mean"):
        table.get("nea", "Global.task_type")
    with pytest.raises(UserError, match="plsc itself and plug-in mine both have a task called far"):
        table.register(type("far", (), {"__module__": "mine"}))
    del sys.modules["task_for_test"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (registry.BACKBONES, {"IResNet50", "MobileFaceNet_base", "FaceViT_tiny_patch9_112"}),
        (registry.LOSSES, {"MarginLoss", "MagFace", "MagCosFace", "AdaFace"}),
        (registry.OPTIMIZERS, {"Momentum", "AdamW"}),
        (registry.SCHEDULES, {"Poly", "TimmCosine", "Step"}),
        (registry.DATASETS, {"FaceIdentificationDataset", "FaceVerificationDataset"}),
        (registry.DATASETS, {"FaceRandomDataset", "FaceVerificationBin"}),
        (registry.DATASETS, {"FaceRecordDataset", "FaceFolderDataset"}),
        (registry.TASKS, {"recognition"}),
        (registry.TRANSFORMS, {"DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"}),
        (registry.METRICS, {"LFWAcc", "AngularAcc"}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_published_names_are_registered(table, expected):
    assert expected <= set(table.names())


@pytest.mark.parametrize(
    "table",
    [table for table in registry.REGISTRIES if table is not registry.TASKS],
    ids=lambda table: table.kind,
)
def test_every_builder_states_its_schema(table):
    """No *args or **kwargs, and an annotation on each parameter: a config is checked by them."""
    import inspect

    for name in table.names():
        for parameter in inspect.signature(table.get(name, "x")).parameters.values():
            assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), name
            assert parameter.annotation is not parameter.empty, (name, parameter.name)
