"""An exported detector gives what the network gives, for images of any size and number."""

import numpy as np
import onnxruntime
import pytest
from detectors import filled_detector, golden_images, outputs_of, share

from plsc.config.load import parse_config
from plsc.detection.export_spec import INPUT, export_spec
from plsc.detection.models.retinaface import RetinaFace_MobileNet025
from plsc.export import convert
from plsc.export.program import run_paddle

CONFIG = {"Global": {"task_type": "detection"}, "Model": {"name": "RetinaFace_MobileNet025"}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The network, and its file of either kind as a function of arrays by name."""
    folder, net = tmp_path_factory.mktemp("exported"), filled_detector(RetinaFace_MobileNet025())
    net.eval()
    spec = export_spec(parse_config(CONFIG), "weights.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "TIMED_RUNS", 1)
        convert.export_onnx(net, folder / "net.onnx", spec)
        convert.export_paddle(net, folder / "net", spec)
    session = onnxruntime.InferenceSession(str(folder / "net.onnx"))
    names = [output.name for output in session.get_outputs()]

    def run_onnx(arrays):
        return dict(zip(names, session.run(names, arrays), strict=True))

    files = {"onnx": run_onnx, "paddle": run_paddle(folder / "net", spec)}
    return net, files, session.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("kind", ["onnx", "paddle"])
@pytest.mark.parametrize("size", [(1, 160, 192), (3, 150, 203), (2, 33, 17)], ids=str)
def test_outputs_of_any_size(exported, kind, size):
    """Also where maps have odd sides, which the probes of the export have not."""
    net, files, _ = exported
    images = golden_images(7, *size)
    found, expected = files[kind]({INPUT: images}), outputs_of(net, images)
    assert list(expected) == list(found) == ["bbox", "score", "landmark"]
    for name, values in expected.items():
        assert share(found[name], values) < 1e-4
    np.testing.assert_allclose(found["score"].sum(axis=-1), 1, rtol=1e-5)


def test_what_the_file_says_of_itself(exported):
    *_, metadata = exported
    expected = {"color_order": "BGR", "mean": "104 117 123", "std": "1", "strides": "8 16 32",
                "anchor_sides": "16 32 64 128 256 512", "variances": "0.1 0.2",
                "detector": "RetinaFace_MobileNet025", "source": "weights.pth"}  # fmt: skip
    assert expected.items() <= metadata.items()
