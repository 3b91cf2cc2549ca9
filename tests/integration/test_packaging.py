"""The source archive and the wheel: built offline, installed away from the checkout, and run there.

The environment of the wheel sees the test environment's other packages, but not what only the
extras `onnx`, `plot` and `visualdl` and the tests ask for.
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from places import ROOT

COMMANDS = ("plsc-train", "plsc-eval", "plsc-export", "plsc-doctor")
CONVERTERS = ("mx_recordio_2_images", "lfw_style_bin_dataset_converter", "render_synthetic_faces")
# Modules that no requirement of plsc itself brings.
EXTRAS = ("onnx", "onnxruntime", "paddle2onnx", "matplotlib", "visualdl", "pytest")
EXTRAS += ("hypothesis", "scipy")


def away(*command, cwd, **variables):
    """The finished process; nothing of the checkout is in its environment."""
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(source archive, wheel): the wheel is made of the unpacked archive, as from an index."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("archives")
    source = folder / "source"
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("plsc", "configs", "tools", "tasks"):
        shutil.copytree(ROOT / name, source / name, ignore=junk)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check"]
    done = away(*command, "--outdir", folder, source, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The `bin` folder of an environment into which the wheel is installed."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    done = away(*pip, "install", "--quiet", "--no-deps", "--no-index", archives[1], cwd=folder)
    assert done.returncode == 0, done.stderr
    # After the installation, so that pip does not see the editable plsc of the test environment.
    # A .pth file adds that folder without reading the .pth files in it, so plsc stays unseen.
    packages = next(folder.glob("lib/python*/site-packages"))
    others = next(path for path in sys.path if path.endswith("site-packages"))
    hidden = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))"
    (packages / "others.pth").write_text(f"{others}\n{hidden}\n")
    return folder / "bin"


def test_the_wheel_has_all_of_the_package_and_nothing_else(archives):
    names = set(zipfile.ZipFile(archives[1]).namelist())
    own = {str(path.relative_to(ROOT)) for path in (ROOT / "plsc").rglob("*") if path.is_file()}
    own = {name for name in own if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == own


def test_metadata(archives):
    wheel = zipfile.ZipFile(archives[1])
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["License"] == "Apache-2.0" or metadata["License-Expression"] == "Apache-2.0"
    (licence,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    # paddlepaddle and paddlepaddle-gpu overwrite each other: only an extra may ask for one.
    required = metadata.get_all("Requires-Dist")
    assert not [line for line in required if "paddle" in line and "extra ==" not in line]
    assert {"cpu", "onnx", "plot", "visualdl", "test"} <= set(metadata.get_all("Provides-Extra"))
    assert metadata.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def test_the_source_archive_is_whole(archives):
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "tools").rglob("*.py")]
    needed += [ROOT / name for name in ("LICENSE", "README.md", "requirements.txt", "Makefile")]
    assert {str(path.relative_to(ROOT)) for path in needed} <= names


def test_plsc_comes_from_the_wheel(installed, tmp_path):
    done = away(installed / "python", "-c", "import plsc; print(plsc.__file__)", cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_explain_themselves(installed, tmp_path, command):
    done = away(installed / command, "--help", cwd=tmp_path)
    assert done.returncode == 0 and command in done.stdout


@pytest.mark.parametrize("converter", CONVERTERS)
def test_converters_explain_themselves(installed, tmp_path, converter):
    module = f"plsc.data.dataset.tools.{converter}"
    done = away(installed / "python", "-m", module, "--help", cwd=tmp_path)
    assert done.returncode == 0 and converter in done.stdout


def test_training_without_the_extras(installed, run_config, tmp_path):
    """Two steps; then an export, which needs an extra and says which."""
    done = away(installed / "plsc-train", "-c", run_config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "max_train_step 2 reached" in done.stdout
    output = tmp_path / "output" / "QuickFace_nano"
    assert (output / "latest" / "state.json").is_file()

    weights = f"Global.pretrained_model={output / 'latest'}"
    done = away(installed / "plsc-export", "-c", run_config, "-o", weights, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip install onnx onnxruntime paddle2onnx" in done.stderr.splitlines()[-1]


@pytest.fixture
def run_config(run, tmp_path):
    run.config["Global"]["max_train_step"] = 2
    path = tmp_path / "two_steps.yaml"
    path.write_text(yaml.safe_dump(run.config))
    return path
