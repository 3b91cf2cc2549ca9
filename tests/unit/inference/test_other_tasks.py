"""Networks of tasks other than recognition: built, described and read by the task that is named."""

import sys

import numpy as np
import paddle
import pytest
from noise_task import NoiseModel, NoiseNet, noise
from paddle import nn

import plsc
from plsc.checkpoint import folder as checkpoint
from plsc.config.readers import SHARED_SECTIONS, section_reader
from plsc.config.registry import TASKS
from plsc.config.sections import ExportConfig
from plsc.data.transforms.input_pixels import InputPixels
from plsc.engine.task import TaskType
from plsc.errors import UserError
from plsc.export.spec import ExportSpec, Input
from plsc.weights.weights import NetworkInFile

STATE = dict.fromkeys(checkpoint.REQUIRED, 0) | {"scaler": {}}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8)


class Means(nn.Layer):
    """The mean of each colour, times a weight."""

    def __init__(self):
        super().__init__()
        self.scale = self.create_parameter([1])

    def forward(self, images):
        return images.mean(axis=[2, 3]) * self.scale


class colours(TaskType):  # noqa: N801
    """Images of 32x24 that are given from 0 to 1."""

    sections = {
        **SHARED_SECTIONS,
        "Model": section_reader(NoiseModel),
        "Loss": section_reader(ExportConfig),
    }

    def network(self, config):
        return Means()

    def training(self, config, network, dataset, state_names):
        raise NotImplementedError

    def export_spec(self, config, network, state, source):
        assert config.Export == ExportConfig(), "the file that is exported may take something else"
        return ExportSpec(
            inputs={"images": Input((None, 3, 24, 32), "float32")},
            outputs=("means",),
            probes=lambda count: {},
            metadata=InputPixels("BGR", (0.0,) * 3, (255.0,) * 3).metadata(),
        )

    def network_in(self, path):
        if "colours" not in path:
            raise UserError(f"{path}: no colours")
        pixels = InputPixels("RGB", (0.0,) * 3, (1.0,) * 3)
        return NetworkInFile(Means(), (32, 24), "means", pixels, "as the name tells", ("found",))


@pytest.fixture(autouse=True)
def registered():
    for task in (colours, noise):
        TASKS.register(task)
    yield
    for task in (colours, noise):
        TASKS.forget(task.__module__)


def write(root, network, task, plugins=()):
    tree = {
        "Global": {"task_type": task, "plugins": list(plugins)},
        "Model": {"name": "Net"},
        "Export": {"fp16": True},
    }
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return checkpoint.save(
        root, "latest", network=arrays, optimizer={}, sharded={}, state={**STATE, "config": tree}
    )


def test_the_task_builds_and_describes_a_checkpoints_network(tmp_path):
    network = Means()
    network.scale.set_value(paddle.to_tensor([3.0]))
    embedder = plsc.Embedder(write(tmp_path, network, "colours"))
    info = embedder.info
    assert (info.size, info.colour_order, info.std) == ((32, 24), "BGR", (255.0,) * 3)
    expected = IMAGES[..., ::-1].mean(axis=(1, 2)) / 255 * 3
    np.testing.assert_allclose(embedder.embed(IMAGES), expected, rtol=1e-5)


def test_a_network_that_does_not_take_images(tmp_path):
    path = write(tmp_path, NoiseNet(), "noise")
    with pytest.raises(UserError) as caught:
        plsc.Embedder(path)
    assert str(caught.value) == (
        f"{path}: its network does not embed images: input images [N, 4], output value"
    )


def test_a_task_that_is_not_registered(tmp_path):
    path = write(tmp_path, NoiseNet(), "noise", plugins=["my_task"])
    TASKS.forget(noise.__module__)
    assert "my_task" not in sys.modules
    line = "there is no task noise here: the checkpoint was written with plug-in my_task: name it "
    with pytest.raises(UserError, match=line):
        plsc.Embedder(path)


def test_files_without_a_config_are_offered_to_each_task(tmp_path):
    for name in ("colours.pth", "other.pth"):
        (tmp_path / name).write_bytes(b"nothing that torch wrote")
    info = plsc.Embedder(tmp_path / "colours.pth").info
    assert (info.size, info.std, info.kind) == ((32, 24), (1.0,) * 3, "torch")
    assert "found" in info.notes and any("as the name tells" in note for note in info.notes)
    with pytest.raises(UserError, match=r"other\.pth: no colours"):
        plsc.Embedder(tmp_path / "other.pth")
