"""Export of networks with several inputs and outputs and free axes, and how their runs compare."""

import numpy as np
import onnx
import paddle
import pytest
import yaml
from paddle import nn

from plsc.errors import UserError
from plsc.export.convert import compare, export_onnx, export_paddle, run_paddle
from plsc.export.spec import ExportSpec, Input
from plsc.export.tolerance import Tolerance
from plsc.files import onnx_file

SIZES = ((12, 20), (16, 8))


class Maps(nn.Layer):
    """Two inputs, an image of any size and a factor; two outputs, of which one keeps the size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.norm._mean.set_value(paddle.to_tensor([0.1, -0.2, 0.3, 0.0]))

    def forward(self, image, factor):
        maps = self.norm(self.conv(image)) * factor.reshape([-1, 1, 1, 1])
        return maps, maps.mean(axis=[2, 3])


class NamedMaps(Maps):
    """The same as a dict, whose sorted keys are in another order than the file's outputs."""

    def forward(self, image, factor):
        maps, centre = super().forward(image, factor)
        return {"maps": maps, "centre": centre}


class Peaks(Maps):
    """Also where the first map is high, in all images together, and how high."""

    def forward(self, image, factor):
        maps, centre = super().forward(image, factor)
        places = paddle.nonzero(maps[:, 0] > 0.5)
        return maps, [centre, (places, paddle.gather_nd(maps[:, 0], places))]


def probes(count, size=SIZES[0]):
    random = np.random.default_rng(0)
    return {
        "image": random.standard_normal((count, 3, *size)).astype(np.float32),
        "factor": random.uniform(1, 2, count).astype(np.float32),
    }


INPUTS = {"image": Input((None, 3, None, None), "float32"), "factor": Input((None,), "float32")}
TWO = ExportSpec(INPUTS, ("maps", "centre"), probes, metadata={"task": "toy"})
FOUR = ExportSpec(
    INPUTS,
    ("maps", "centre", "places", "heights"),
    probes,
    rows={"places": "peaks", "heights": "peaks"},
)


def made(kind):
    paddle.seed(1)
    net = kind()
    net.eval()
    return net


def written(kind, spec, form, folder):
    """The network, its report and its file as a function."""
    net = made(kind)
    if form == "onnx":
        report = export_onnx(net, folder / "net.onnx", spec)
        return net, report, onnx_file.run(folder / "net.onnx")
    report = export_paddle(net, folder / "net", spec)
    return net, report, run_paddle(folder / "net", spec)


def leaves(net, given):
    with paddle.no_grad():
        outputs = net(*map(paddle.to_tensor, given.values()))
    if isinstance(outputs, dict):
        return outputs["maps"].numpy(), outputs["centre"].numpy()
    return tuple(item.numpy() for item in paddle.utils.flatten(outputs))


def axes(values):
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


@pytest.mark.parametrize("form", ["onnx", "paddle"])
@pytest.mark.parametrize(("kind", "spec"), [(Maps, TWO), (NamedMaps, TWO), (Peaks, FOUR)])
def test_outputs_by_name_at_any_batch_and_size(kind, spec, form, tmp_path):
    net, report, run = written(kind, spec, form, tmp_path)
    assert [check.batch for check in report.checks] == [1, 5]
    for size in SIZES:
        for count in (1, 3):
            given = probes(count, size)
            found = run(given)
            assert tuple(found) == spec.outputs
            for array, expected in zip(found.values(), leaves(net, given), strict=True):
                assert array.shape == expected.shape
                np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)


def test_an_onnx_file_has_the_specs_names(tmp_path):
    _, report, _ = written(Peaks, FOUR, "onnx", tmp_path)
    graph = onnx.load(str(tmp_path / "net.onnx")).graph
    assert axes(graph.input) == {"image": ["N", 3, "image_2", "image_3"], "factor": ["N"]}
    assert axes(graph.output) == {
        "maps": ["N", 4, "maps_2", "maps_3"],
        "centre": ["N", 4],
        "places": ["peaks", 3],
        "heights": ["peaks"],
    }
    assert "input image [N, 3, image_2, image_3], factor [N], output maps, centre, pl" in str(
        report
    )
    assert "batch 5: largest difference " in str(report)


def test_a_paddle_export_has_the_specs_metadata(tmp_path):
    written(NamedMaps, TWO, "paddle", tmp_path)
    assert yaml.safe_load((tmp_path / "net.yml").read_text()) == {"task": "toy"}


def changed(run, name, change):
    def wrong(given):
        found = run(given)
        return {**found, name: change(found[name])}

    return wrong


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("maps", lambda maps: maps * 1.01, "file differs from the network.*of maps's largest"),
        ("centre", lambda centre: centre[:, :3], r"file gives \[1, 3\] instead of \[1, 4\] for ce"),
        ("heights", lambda heights: heights * 1.01, "file differs .* of rows without a match"),
        ("places", lambda places: places + 1, "file differs .*100.0% of rows without a match"),
        ("places", lambda places: places[1:], "file differs .*100.0% of rows without a match"),
        ("heights", lambda heights: heights * np.nan, "file differs .*100.0% of rows without"),
        ("maps", lambda maps: maps * np.nan, "file differs .* nan of maps"),
    ],
)
def test_each_output_is_compared(name, change, said):
    net = made(Peaks)

    def run(given):
        return dict(zip(FOUR.outputs, leaves(net, given), strict=True))

    compare(net, run, "file", FOUR)
    with pytest.raises(UserError, match=said):
        compare(net, changed(run, name, change), "file", FOUR)


ROWS = {"boxes": "faces", "image": "faces"}


def detections(boxes, image):
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "image": np.array(image, np.int64)}


FIRST, SECOND, THIRD = [1, 2, 30, 40], [5, 6, 70, 80], [3, 3, 60, 60]
EXPECTED = detections([FIRST, SECOND, THIRD], [0, 0, 1])


def held(found, *, expected=EXPECTED, max_unmatched=0.0, fp16=False):
    tolerance = Tolerance(max_unmatched=max_unmatched)
    return tolerance.compare(expected, found, rows=ROWS, fp16=fp16)


def test_rows_may_come_in_another_order_and_rounded():
    other = detections([np.array(THIRD) + 0.01, FIRST, SECOND], [1, 0, 0])
    assert held(other).equal
    assert held(other).relative == pytest.approx(0.01 / 80, rel=1e-3)
    assert not held(detections([np.array(THIRD) + 0.1, FIRST, SECOND], [1, 0, 0])).equal
    assert held(detections([np.array(THIRD) + 0.1, FIRST, SECOND], [1, 0, 0]), fp16=True).equal


def test_a_row_of_another_image_is_another_row():
    assert held(detections([FIRST, SECOND, THIRD], [0, 0, 0])).unmatched == pytest.approx(1 / 3)


def test_a_row_matches_once():
    assert held(detections([FIRST, FIRST, THIRD], [0, 0, 1])).unmatched == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "found", [([FIRST, THIRD], [0, 1]), ([FIRST, SECOND, THIRD] * 2, [0, 0, 1] * 2)]
)
def test_missing_and_additional_rows_count(found):
    share = abs(len(found[1]) - 3) / max(len(found[1]), 3)
    agreement = held(detections(*found))
    assert not agreement.equal and agreement.unmatched == pytest.approx(share)
    assert f"{share:.1%} of rows without a match" in str(agreement)
    assert held(detections(*found), max_unmatched=0.5).equal


def test_no_rows_at_all():
    nothing = detections([], [])
    assert held(nothing, expected=nothing).equal
    assert held(nothing).unmatched == held(EXPECTED, expected=nothing).unmatched == 1


def test_whole_numbers_have_to_be_equal():
    ours, theirs = {"class": np.array([1000, 7])}, {"class": np.array([1000, 8])}
    assert Tolerance().compare(ours, ours, rows={}, fp16=True).equal
    assert not Tolerance().compare(ours, theirs, rows={}, fp16=True).equal
