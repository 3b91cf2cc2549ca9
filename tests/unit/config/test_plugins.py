"""Each way in which a plug-in can be wrong: one line, and nothing of it stays."""

import re
import subprocess
import sys

import pytest
from places import ROOT
from refusals import refused

from plsc.config.component import Component
from plsc.config.load import load_config, parse_config
from plsc.config.plugins import import_plugins
from plsc.config.registry import REGISTRIES, SCHEDULES, TASKS, TRANSFORMS
from plsc.errors import UserError

PART = """
from plsc.config.registry import SCHEDULES, TASKS, TRANSFORMS

@TRANSFORMS.register
class Blur:
    def __init__(self, width: int = 3):
        self.width = width
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes modules into the current folder; afterwards nothing is left of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    written = []

    def write(name: str, text: str):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        written.append(name.split("/")[0].removesuffix(".py"))
        return path

    yield write
    for module in written:
        for registry in REGISTRIES:
            registry.forget(module)
        for name in [name for name in sys.modules if name.split(".")[0] == module]:
            del sys.modules[name]


def not_imported(*modules: str) -> str:
    return refused(lambda: import_plugins(modules))


def test_the_parts_of_a_module_in_the_current_folder_are_found(write, tmp_path):
    path = write("parts_a.py", PART)
    assert import_plugins(["parts_a"]) == [f"plug-in parts_a ({path}): transform Blur"]
    assert sys.path[0] == str(tmp_path)
    assert import_plugins(["parts_a"]) == [f"plug-in parts_a ({path}): transform Blur"]
    assert Component("Blur", {"width": 5}, "x").build(TRANSFORMS).width == 5
    assert sys.path.count(str(tmp_path)) == 1


def test_a_task_is_registered_like_any_other_part(write):
    write("parts_b.py", PART + "\n@TASKS.register\nclass counting:\n    pass\n")
    assert import_plugins(["parts_b"])[0].endswith(": transform Blur, task counting")
    assert TASKS.get("counting", "Global.task_type").__module__ == "parts_b"


def test_parts_of_a_package(write):
    write("pack_c/__init__.py", "from pack_c import nets\n")
    write("pack_c/nets.py", PART)
    assert import_plugins(["pack_c"])[0].endswith("__init__.py): transform Blur")
    with pytest.raises(UserError, match=re.escape("(Blur is defined by plug-in pack_c.nets)")):
        Component("Blur", {"widht": 5}, "x").check(TRANSFORMS)


def test_a_module_that_is_not_there(write, tmp_path):
    line = not_imported("parts_none")
    assert line.startswith(
        "Global.plugins: there is no module 'parts_none', neither in the current"
    )
    assert str(tmp_path) in line and "PYTHONPATH" in line
    write("pack_d/__init__.py", "")
    assert "there is no module 'pack_d.nets'" in not_imported("pack_d.nets")
    assert "there is no module 'pack_e'" in not_imported("pack_e.nets")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("parts_f.py", ": parts_f"),
        ("nets/parts_f.py", ": nets.parts_f"),
        (".parts_f", ": parts_f"),
        ("", ", such as my_parts"),
        ("a b", ", such as my_parts"),
    ],
)
def test_what_is_no_name_of_a_module(write, tmp_path, name, right):
    write("parts_f.py", "open('imported', 'w').close()")
    assert not_imported(name) == (
        f"Global.plugins: {name!r} is no name of a module: write it as in an import statement"
        + right
    )
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("text", "line", "place"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'", 8),
        ("x = (", "SyntaxError: '(' was never closed", 8),
        ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero", 9),
        ("import json\njson.loads('?')", "JSONDecodeError: Expecting value", 9),
        ("raise ValueError('one\\ntwo')", "ValueError: one", 8),
        ("raise SystemExit(3)", "SystemExit: 3", 8),
        ("raise KeyError", "KeyError: KeyError", 8),
    ],
)
def test_an_error_in_a_module_is_placed_and_leaves_nothing(write, text, line, place):
    path = write("parts_g.py", PART.strip() + "\n\n" + text)
    path.write_text(path.read_text().replace("\n\n", "\n"))
    found = not_imported("parts_g")
    assert found.startswith(f"Global.plugins: plug-in parts_g cannot be imported: {line}")
    lines = path.read_text().splitlines()
    number = int(re.search(r", line (\d+)\)$", found)[1])
    assert f"({path}, line {number})" in found
    assert lines[number - 1].strip() in text
    assert number == len(lines) or "return" in lines[number - 1]

    path.write_text(PART + "# mended\n")
    assert import_plugins(["parts_g"])[0].endswith("transform Blur")


def test_two_plugins_with_one_name(write):
    write("parts_h.py", PART)
    write("parts_i.py", PART)
    import_plugins(["parts_h"])
    assert not_imported("parts_i") == (
        "Global.plugins: plug-in parts_h and plug-in parts_i both have a transform called Blur: "
        "give the plug-in's another name"
    )


def test_a_name_of_plscs_own(write):
    TRANSFORMS.names()
    write("parts_j.py", PART.replace("Blur", "ToCHWImage"))
    assert not_imported("parts_j") == (
        "Global.plugins: plsc itself and plug-in parts_j both have a transform called ToCHWImage: "
        "give the plug-in's another name"
    )


@pytest.mark.parametrize(
    ("signature", "line"),
    [
        ("width=3", "x: parameter width of Blur has no annotation, by which a config is checked: "),
        ("*widths: int", "x: Blur takes *widths: int, where no mistake in a config would be found"),
        ("**options", "x: Blur takes **options, where no mistake in a config would be found"),
        ("width: 'Nothing' = 3", "x: annotations of Blur cannot be read: name 'Nothing' is not de"),
        ("other: int", "x.other is missing (Blur is defined by plug-in parts_k)"),
    ],
)
def test_a_builder_whose_signature_is_no_schema(write, signature, line):
    text = PART.replace("width: int = 3", signature).replace("self.width = width", "pass")
    write("parts_k.py", text)
    import_plugins(["parts_k"])
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        Component("Blur", {}, "x").check(TRANSFORMS)
    assert str(caught.value).endswith("(Blur is defined by plug-in parts_k)")


def test_what_the_program_passes_needs_no_annotation(write):
    write("parts_l.py", PART + "\n@SCHEDULES.register\ndef Flat(epochs, rate: float):\n    pass\n")
    import_plugins(["parts_l"])
    section = Component("Flat", {"rate": 1}, "LRScheduler")
    assert section.check(SCHEDULES, supplied=["epochs"]) == {"rate": 1.0}


def test_mistakes_in_a_plugins_parameters_say_whose_it_is(write):
    write("parts_m.py", PART)
    import_plugins(["parts_m"])
    for params, line in (
        ({"widht": 1}, "x.widht: unknown key; did you mean 'width'?"),
        ({"width": "far"}, "x.width must be a whole number, got 'far'"),
    ):
        with pytest.raises(UserError) as caught:
            Component("Blur", params, "x").check(TRANSFORMS)
        assert str(caught.value) == f"{line} (Blur is defined by plug-in parts_m)"


def test_a_file_and_an_option_import_and_a_stored_config_does_not(write, tmp_path):
    write("parts_n.py", PART + "open('imported', 'a').write('n')\n")
    config = write("x.yaml", "Global:\n  plugins: [parts_n]\n")
    tree = {"Global": {"plugins": ["parts_n"]}}
    assert parse_config(tree).Global.plugins == ("parts_n",)
    assert not (tmp_path / "imported").exists()
    loaded = load_config(config)
    assert (tmp_path / "imported").exists()
    assert loaded.notes[0].startswith("plug-in parts_n (")
    assert loaded.to_dict()["Global"]["plugins"] == ["parts_n"]
    write("y.yaml", "Global:\n")
    assert load_config("y.yaml", ["Global.plugins=[parts_n]"]).Global.plugins == ("parts_n",)
    assert load_config("y.yaml").notes == ()


def test_a_plugin_is_imported_before_its_names_are_needed(write):
    """Sections may be a plug-in's, so nothing of a config is read before."""
    write("parts_o.py", PART)
    config = write("x.yaml", "Global:\n  plugins: [parts_o]\n  epoch: 3\n")
    with pytest.raises(UserError, match="Global.epoch: unknown key"):
        load_config(config)
    assert TRANSFORMS.names_of("parts_o") == ["Blur"]


@pytest.mark.parametrize("value", ["3", "my_parts", "[3]", "{}"])
def test_what_is_no_list_of_names(write, value):
    with pytest.raises(UserError, match=r"Global\.plugins(\.0)? must be (a list|text), got"):
        load_config(write("x.yaml", "Global: {}\n"), [f"Global.plugins={value}"])


def test_plugins_without_paddle_do_not_bring_it(write, tmp_path):
    write("parts_p.py", PART)
    config = write("x.yaml", "Global: {plugins: [parts_p]}\n")
    code = (
        "import sys; from plsc.config.load import load_config; "
        f"load_config({str(config)!r}); print('paddle' in sys.modules, 'parts_p' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "False True\n", done.stderr
