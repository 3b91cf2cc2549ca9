"""How a run begins from weights that another system wrote."""

from types import SimpleNamespace

from paddle import nn

from plsc.config.load import parse_config
from plsc.data.transforms.input_pixels import InputPixels
from plsc.engine import starting_point
from plsc.weights.weights import Weights


def test_a_warning_where_images_are_prepared_otherwise_than_the_weights_were_trained_on(
    monkeypatch, tmp_path
):
    pixels, lines, begun = InputPixels("BGR"), [], []
    weights = Weights("net.pth", {}, notes=("first",), trained_on=pixels, trained_by="Somebody")
    monkeypatch.setattr(starting_point, "take_weights", lambda path, network: weights)
    dataset = {"name": "FaceRecordDataset", "root": "x", "transform_ops": ["DecodeImage"]}
    config = parse_config({
        "Global": {"pretrained_model": "net.pth", "finetune": True},
        "DataLoader": {"Train": {"dataset": dataset, "sampler": {"batch_size": 2}}},
    })  # fmt: skip
    task = SimpleNamespace(start=lambda *given: begun.append(given))
    training = SimpleNamespace(
        network=SimpleNamespace(layer=nn.Linear(2, 2)), task=task, frozen=False
    )
    log = SimpleNamespace(line=lines.append, begin_metrics=lambda resumed_at: None)
    starting_point.begin(training, config, None, tmp_path, log)
    assert lines[0] == "net.pth: first"
    assert lines[1].startswith("net.pth: WARNING: DataLoader.Train.dataset.transform_ops gives")
    assert "Somebody trained these weights on BGR, mean 127.5" in lines[1]
    assert len(lines) == 2
    assert begun == [(weights, training.network.layer, tmp_path, log)]
