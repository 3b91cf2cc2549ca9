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


def test_an_unknown_name_gets_the_nearest(folder_of_parts):
    with pytest.raises(
        UserError, match=r"Model.name: no part is called 'Roand'; did you mean 'Rou"
    ):
        folder_of_parts.get("Roand", "Model.name")


def test_a_name_is_given_once():
    table = Registry("part", [])

    @table.register
    def Part():
        pass

    with pytest.raises(AssertionError, match="part Part twice"):
        table.register(Part)


def test_register_returns_the_builder_unchanged():
    table = Registry("part", [])

    class Part:
        pass

    assert table.register(Part) is Part


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (registry.BACKBONES, {"IResNet50", "MobileFaceNet_base", "FaceViT_tiny_patch9_112"}),
        (registry.LOSSES, {"MarginLoss", "MagFace", "MagCosFace", "AdaFace"}),
        (registry.OPTIMIZERS, {"Momentum", "AdamW"}),
        (registry.SCHEDULES, {"Poly", "TimmCosine", "Step"}),
        (registry.DATASETS, {"FaceIdentificationDataset", "FaceVerificationDataset"}),
        (registry.TRANSFORMS, {"DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"}),
        (registry.METRICS, {"LFWAcc", "AngularAcc"}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_published_names_are_registered(table, expected):
    assert expected <= set(table.names())


@pytest.mark.parametrize(
    "table",
    [value for value in vars(registry).values() if isinstance(value, Registry)],
    ids=lambda table: table.kind,
)
def test_every_builder_states_its_schema(table):
    """No *args or **kwargs, and an annotation on each parameter: a config is checked by them."""
    import inspect

    for name in table.names():
        for parameter in inspect.signature(table.get(name, "x")).parameters.values():
            assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), name
            assert parameter.annotation is not parameter.empty, (name, parameter.name)
