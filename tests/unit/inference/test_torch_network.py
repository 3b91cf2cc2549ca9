"""State dicts of MagFace and arcface_torch as models: what they are is read off their keys."""

import cv2
import numpy as np
import paddle
import pytest
from filled_nets import embeddings
from samples import preparing
from torch_files import as_torch

from plsc.cli.evaluate import main as evaluate
from plsc.config.load import parse_config
from plsc.engine import run as commands
from plsc.errors import UserError
from plsc.recognition.embedder import Embedder
from plsc.recognition.models.iresnet import IResNet18

DIM = 8
BGR_TO_ONE = preparing(to_rgb=False, mean=0.0, std=1.0)
RGB_AROUND_0 = ["DecodeImage", "NormalizeImage", "ToCHWImage"]


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """One block in each stage, as the key names then say, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IResNet18, "depths", (1, 1, 1, 1))
        yield


def network(epsilon):
    """Statistics as small as the epsilons, whose difference is then seen."""
    paddle.seed(0)
    net = IResNet18(DIM, bn_epsilon=epsilon)
    random = np.random.default_rng(0)
    for name, tensor in net.state_dict().items():
        if name.endswith("_variance"):
            values = random.uniform(1e-5, 2e-5, tensor.shape)
            values *= 1 if name.startswith("features") else 5e4
        elif len(tensor.shape) == 1:
            low = 0.5 if name.endswith("weight") else -0.5
            values = random.uniform(low, low + 1, tensor.shape)
        elif len(tensor.shape) == 4:
            values = random.normal(size=tensor.shape) / np.sqrt(np.prod(tensor.shape[1:]))
        else:
            values = random.normal(size=tensor.shape) / 1000
        tensor.set_value(values.astype(np.float32))
    net.eval()
    return net


@pytest.fixture(scope="module")
def magface():
    return network(2e-5)


@pytest.fixture(scope="module")
def arcface():
    return network(1e-5)


@pytest.fixture(scope="module")
def files(magface, arcface, tmp_path_factory, write_torch):
    """As the data-parallel and the distributed trainer of MagFace save it, and arcface_torch."""
    folder = tmp_path_factory.mktemp("torch")
    common = {"epoch": 25, "arch": "iresnet18", "optimizer": {"state": {}}}
    head = np.ones((DIM, 5), np.float32)
    for name, prefix, centres in (
        ("magface.pth", "module.features.", "module.fc.weight"),
        ("magface_dist.pth", "features.module.", "parallel_fc.weight"),
    ):
        state = {centres: head, **as_torch(magface, prefix)}
        write_torch(folder / name, {**common, "state_dict": state})
    write_torch(folder / "arcface.pt", as_torch(arcface))
    return folder


@pytest.fixture(scope="module")
def pictures():
    """RGB uint8 [3, 112, 112, 3]."""
    coarse = np.random.default_rng(1).integers(0, 256, (3, 7, 7, 3), np.uint8)
    return np.stack([cv2.resize(image, (112, 112)) for image in coarse])


def given(net, images):
    """What `net` gives for images float64 [n, 112, 112, 3]."""
    return embeddings(net, images.transpose(0, 3, 1, 2))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["magface.pth", "magface_dist.pth"])
def test_magface_is_known_by_its_keys(files, magface, arcface, pictures, name):
    embedder = Embedder(files / name, batch_size=2)
    info = embedder.info
    assert (info.kind, info.dim, info.size) == ("torch", DIM, (112, 112))
    assert (info.colour_order, info.mean, info.std) == ("BGR", (0.0,) * 3, (255.0,) * 3)
    expected = given(magface, pictures[..., ::-1] / 255)
    close(embedder.embed(pictures), expected)
    with_other_epsilon = given(arcface, pictures[..., ::-1] / 255)
    assert np.abs(with_other_epsilon - expected).max() > 0.01 * np.abs(expected).max()
    prefix = "module.features." if name == "magface.pth" else "features.module."
    assert info.notes == (
        f"network: IResNet18 of {DIM} features, as its blocks and shapes tell",
        f"1 tensors beside the network stay unread: {info.notes[1].rpartition(': ')[2]}",
        f"mean and std: 0 and 255, deduced from key names: {prefix}* is MagFace's",
        f"colour order: BGR, deduced from key names: {prefix}* is MagFace's",
    )
    assert info.assumptions == info.notes[2:]


def test_a_bare_state_dict_is_arcface_torchs(files, arcface, pictures):
    embedder = Embedder(files / "arcface.pt")
    close(embedder.embed(pictures), given(arcface, (pictures - 127.5) / 127.5))
    assert all("assumed as insightface does" in note for note in embedder.info.assumptions)
    assert len(embedder.info.assumptions) == 2
    mine = Embedder(files / "arcface.pt", mean=0, std=255, colour_order="BGR")
    close(mine.embed(pictures), given(arcface, pictures[..., ::-1] / 255))


def test_digests_are_of_weights_and_preparation(files, magface, tmp_path, write_torch):
    digest = Embedder(files / "magface.pth").digest
    assert digest == Embedder(files / "magface.pth").digest
    assert digest != Embedder(files / "magface.pth", std=127.5).digest
    state = as_torch(magface, "module.features.")
    state["module.features.fc.bias"] = state["module.features.fc.bias"] + np.float32(1e-3)
    write_torch(tmp_path / "other.pth", {"state_dict": state})
    assert digest != Embedder(tmp_path / "other.pth").digest


def without(state, *parts):
    return {key: array for key, array in state.items() if not key.endswith(parts)}


def test_what_is_no_iresnet(files, arcface, tmp_path, write_torch):
    state = as_torch(arcface)
    deeper = state | {"layer2.1.conv1.weight": state["layer1.0.conv1.weight"]}
    cases = {
        "fc.pth": ({"fc.weight": np.ones((2, 2))}, r"not an IResNet \(its keys begin with 'fc.wei"),
        "resnet.pth": (without(state, "features.weight"), "not an IResNet .*in a config"),
        "wide.pth": (state | {"fc.weight": np.ones((9, 512))}, "not an IResNet"),
        "deeper.pth": (deeper, r"an IResNet of \(1, 2, 1, 1\) blocks, which plsc has not .*50"),
        "less.pth": (without(state, "bn2.bias"), "5 missing: bn2.bias, layer1.0.bn2.bias"),
        "more.pth": (state | {"layer1.0.se.weight": np.ones(3)}, "1 unknown: layer1.0.se.weight"),
        "list.pth": ([1, 2], "holds no state dict"),
    }
    for name, (content, message) in cases.items():
        path = write_torch(tmp_path / name, content)
        with pytest.raises(UserError, match=f"{name}.* {message}|{name}: {message}") as caught:
            Embedder(path)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(UserError, match="text.pth: not a file of torch.save"):
        Embedder(tmp_path / "text.pth")
    with pytest.raises(UserError, match="nowhere.pth: no such file"):
        Embedder(tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="provider tpu: Paddle runs this model on cpu or cuda"):
        Embedder(files / "arcface.pt", provider="tpu")


def test_it_is_evaluated_and_keeps_no_thresholds(files, tiny_faces, tmp_path, capsys):
    options = ["--model", str(files / "magface.pth"), "--pairs", str(tiny_faces / "pairs.txt")]
    options += ["--no_flip", "--num_workers", "0"]
    before = (files / "magface.pth").stat().st_mtime_ns
    assert evaluate([*options, "--json", str(tmp_path / "out.json")]) == 0
    text = (tmp_path / "out.json").read_text()
    assert '"torch state dict"' in text and "BGR" in text
    assert "deduced from key names" in capsys.readouterr().err
    assert evaluate([*options, "--store_thresholds"]) == 2
    assert "a .pth keeps nothing beside its weights" in capsys.readouterr().err
    assert (files / "magface.pth").stat().st_mtime_ns == before


def test_its_preparation_travels_with_an_export(files, pictures, tmp_path, monkeypatch):
    """Through a config of the usual network, which takes its epsilon over."""
    monkeypatch.setattr("plsc.recognition.export_spec.CHECKED_BATCHES", (1,))
    monkeypatch.setattr("plsc.export.convert.TIMED_RUNS", 1)
    config = configured(files / "magface.pth", tmp_path, BGR_TO_ONE)
    path = commands.export(config, tmp_path / "IResNet18")
    embedder = Embedder(path)
    assert (embedder.info.colour_order, embedder.info.std) == ("BGR", (255.0,) * 3)
    assert not embedder.info.assumptions
    close(embedder.embed(pictures), Embedder(files / "magface.pth").embed(pictures))
    log = (tmp_path / "IResNet18" / "export.log").read_text()
    assert "WARNING" not in log and "trained these weights on BGR, mean 0, std 255" in log
    assert "2e-05 is carried over in the variances" in log


@pytest.fixture
def exported(monkeypatch):
    """The backbones and metadata that were to be exported."""
    kept = []
    monkeypatch.setattr(
        commands, "export_onnx", lambda net, _, spec, **__: kept.append((net, spec.metadata))
    )
    return kept


def test_a_config_of_its_own_network_needs_no_change(files, magface, tmp_path, exported):
    options = {"bn_epsilon": 2e-5, "feature_scale": "trained", "data_format": "NHWC"}
    commands.export(
        configured(files / "magface.pth", tmp_path, BGR_TO_ONE, **options), tmp_path / "IResNet18"
    )
    ((net, said),) = exported
    assert (said["color_order"], said["mean"], said["std"]) == ("BGR", "0", "255")
    for key, tensor in magface.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[key].numpy(), tensor.numpy())
    assert "carried over" not in (tmp_path / "IResNet18" / "export.log").read_text()


def test_a_config_that_prepares_otherwise_is_warned_of(files, tmp_path, exported):
    config = configured(files / "magface.pth", tmp_path, RGB_AROUND_0)
    commands.export(config, tmp_path / "IResNet18")
    (line,) = [
        line
        for line in (tmp_path / "IResNet18" / "export.log").read_text().splitlines()
        if "WARNING" in line
    ]
    assert "DataLoader.Train.dataset.transform_ops gives RGB, mean 127.5, std 127.5" in line
    assert "MagFace trained these weights on BGR, mean 0, std 255" in line
    assert "to_rgb: False and NormalizeImage.mean: [0.0, 0.0, 0.0], std: [1.0, 1.0, 1.0]" in line
    ((_, said),) = exported
    assert (said["color_order"], said["mean"], said["std"]) == ("RGB", "127.5", "127.5")


def configured(weights, folder, ops, **options):
    dataset = {"name": "FaceRecordDataset", "root": "nowhere", "transform_ops": ops}
    return parse_config({
        "Global": {"pretrained_model": str(weights), "output_dir": str(folder), "device": "cpu"},
        "Model": {"name": "IResNet18", "num_features": DIM, **options},
        "DataLoader": {"Train": {"dataset": dataset, "sampler": {"batch_size": 2}}},
        "Export": {"export_type": "onnx"},
    })  # fmt: skip
