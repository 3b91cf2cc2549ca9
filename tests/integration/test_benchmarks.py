"""Each of tools/benchmark runs, made small, and says what it measured; no speed is expected."""

import json
import statistics

import pytest
from commands import python
from places import ROOT

from plsc.config.registry import BACKBONES

CONFIG = ROOT / "configs" / "quickstart.yaml"
SMALL = ["--backbone", "QuickFace_nano", "--batch", "2", "--dim", "16", "--classes", "20"]
TIMED = ["--ranks", "1,2", "--threads", "1", "--steps", "1", "--rounds", "1"]
ROWS, BATCH, DIM, BLOCK = 100, 8, 32, 64


def bench(tool, *options, **more):
    return python(ROOT / "tools" / "benchmark" / f"{tool}.py", *options, cwd=ROOT, **more)


def report_of(tool, *options):
    """What a tool says of itself in the one line that it prints."""
    (line,) = bench(tool, *options).stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize(
    ("tool", "options", "status", "words"),
    [
        ("checkpoint", "--classes 0", 1, "checkpoint: --classes must"),
        ("embed", "--images 6", 2, "must be even and at least 8"),
        ("head", "--rows 100 --classes 50", 1, "head: --rows 100 are more than --classes 50"),
        ("loader", "--images 0", 2, "loader.py: error: --images must be at least 1, got 0"),
        ("plan", f"-c {CONFIG} -o Model.name=IResNet51", 1, "plan: Model.name: no backbone is"),
        ("scaling", "--ranks 2..x", 2, "invalid numbers value: '2..x'"),
        ("scaling", "", 2, "give --ranks or --simulate"),
    ],
)
def test_a_mistake_ends_in_one_line(tool, options, status, words):
    done = bench(tool, *options.split(), status=status)
    assert not done.stdout and "Traceback" not in done.stderr
    *usage, last = done.stderr.splitlines()
    assert words in last and (not usage or usage[0].startswith("usage: "))
    if tool in ("head", "loader"):
        assert (usage, last) == ([], words)


def test_a_measurement_that_fails_is_told_with_its_reason():
    done = bench("train", "--backbone", "IResNet19", "--rounds", 1, status=None)
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, last) == (1, "train.py: error: stock failed, see above")
    assert "did you mean 'IResNet18'" in done.stderr


@pytest.mark.parametrize(("storage", "dtype"), [("device", "float32"), ("file", "bfloat16")])
def test_checkpoints(tmp_path, storage, dtype):
    sizes = "--classes", 3000, "--dim", 8, "--passes", 1, "--folder", tmp_path
    report = report_of("checkpoint", *sizes, "--storage", storage, "--dtype", dtype)
    assert (report["classes"], report["storage"], report["dtype"]) == (3000, storage, dtype)
    size = 3000 * 8 * 2 * (4 if dtype == "float32" else 2) / 1e9
    assert report["gigabytes"] == pytest.approx(size, abs=1e-3)
    taken = {"dd_write", "dd_read", "save", "restore", "save_unchanged"}
    assert report["seconds"].keys() == taken and report["linked"] is True
    assert list(tmp_path.iterdir()) == []


LAUNCHES = {"forward": 27, "backward": 76, "begin_step": 8, "input": 0, "loop": 4}


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ("", 58),
        ("--loss MagFace --parts 2", 2 * 125),
        ("--ranks 2", 65),
    ],
)
def test_launches_of_a_step_stay_few_and_it_waits_once(options, head):
    """Bounds that a step meets today; the numbers are those of Paddle's operators."""
    done = bench("launches", "--backbone", "QuickFace_nano", *options.split())
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["optimizer"] for one in reports] == ["AdamW", "Momentum"]
    for one in reports:
        launches, parts = one["launches"], one["parts"]
        assert one["waits"] == {"total": 1, "loop": 1}
        assert launches["update"] <= one["update_limit"] == 1.5 * one["parameter_tensors"] + 60
        assert launches["head"] <= head
        for phase, most in LAUNCHES.items():
            assert launches.get(phase, 0) <= parts * most
        assert launches["total"] == sum(launches.values()) - launches["total"]


@pytest.mark.slow
def test_every_backbones_update_takes_few_launches():
    done = bench("launches", "--batch", "2", "--classes", "1000", timeout=3600)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 2 * len(BACKBONES.names())
    for one in reports:
        assert one["launches"]["update"] <= one["update_limit"], one["backbone"]
        assert one["waits"]["total"] == 1


def head_report(folder, *options):
    sizes = "--rows", ROWS, "--batch", BATCH, "--dim", DIM, "--steps", 3
    report = report_of("head", *sizes, "--folder", folder, *options)
    assert list(folder.iterdir()) == []
    return report


def test_the_parts_of_a_heads_step_are_all_of_it_and_class_counts_are_compared(tmp_path):
    report = head_report(tmp_path, "--classes", "1000", "3000")
    assert [one["classes"] for one in report["runs"]] == [1000, 3000]
    small, large = (one["seconds"]["total"] for one in report["runs"])
    (ratio,) = report["cost_against_first"]
    assert ratio["min"] == pytest.approx(large["min"] / small["min"], rel=0.2)
    for one in report["runs"]:
        parts = dict(one["seconds"])
        total, cpu = parts.pop("total"), parts.pop("cpu")
        assert list(parts) == [
            *("sampling", "take", "forward", "backward", "norm", "update", "put", "other")
        ]
        assert all(0 <= part["min"] <= part["median"] for part in (*parts.values(), total, cpu))
        assert sum(part["min"] for part in parts.values()) <= total["min"] + 0.001  # rounded
        # Nothing that takes time escapes the named parts: they are wrapped where they are called.
        assert min(parts[name]["median"] for name in ("sampling", "take", "forward")) > 0
        assert one["loss_last"] < one["loss_first"]
        assert one["bytes_taken"] == one["bytes_put"] == 2 * ROWS * DIM * 4
        assert one["bytes_exchanged"] == 0
        assert 0.1 < one["resident_gb"] <= one["peak_gb"] < 5


def test_ranks_share_a_heads_rows_and_exchange_what_the_head_says(tmp_path):
    report = head_report(tmp_path, "--classes", "1000", "--ranks", "2")
    samples = 2 * BATCH
    features = gradients = samples * DIM * 4
    reductions, labels, norm = 3 * samples * 4, samples * 8, 4
    assert report["bytes_exchanged"] == features + gradients + reductions + labels + norm
    assert report["bytes_taken"] == report["bytes_put"] == 2 * (ROWS // 2) * DIM * 4


def test_a_head_of_half_precision_in_files(tmp_path):
    options = ["--storage", "file", "--dtype", "bfloat16", "--optimizer", "AdamW"]
    report = head_report(tmp_path, "--classes", "1000", *options)
    row = 3 * DIM * 2  # bytes; blocks of neighbours are read, those of the next step ahead
    assert (ROWS - BLOCK) * row < report["bytes_put"] < (ROWS + 2 * BLOCK) * row
    assert report["bytes_taken"] >= (ROWS - BLOCK) * row


def test_a_peer_that_fails_ends_the_measurement(tmp_path):
    peer = tmp_path / "python"
    peer.write_text("#!/bin/sh\necho no torch here >&2\nexit 3\n")
    peer.chmod(0o755)
    options = "--rows", ROWS, "--classes", 200, "--peer", "--torch-python", peer
    done = bench("head", *options, "--folder", tmp_path, status=1)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "head: a measurement failed: no torch here"


def test_every_format_of_images_is_compared_with_the_decoder_alone(tmp_path):
    options = ["--images", "200", "--batch", "16", "--rounds", "2", "--temporary", tmp_path]
    report = report_of("loader", *options, "--json")
    assert (report["images"], report["batch"], report["rounds"]) == (200, 16, 2)
    assert 3000 < report["bytes_per_image"] < 10000
    assert set(report["formats"]) == {
        *("record file", "record file, in order", "list of files", "folder per identity")
    }
    for row in report["formats"].values():
        assert row["images_per_second"] > 0
        # Nothing decodes faster than the decoder: half as much again is noise, more a mistake.
        assert 0 < row["ratio"] < 1.5 and 0 < row["ratio_by_cpu_time"] < 1.5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [20, 50_001])
def test_an_index_opens_with_all_its_images(tmp_path, images):
    report = report_of("loader", "--index", images, "--temporary", tmp_path, "--json")
    assert report["images"] == images and set(report["formats"]) == {"rec", "list", "magface"}
    for row in report["formats"].values():
        assert 0 <= row["open_seconds"] < 10 and 0 <= row["shuffle_seconds"] < 10
        assert 0.01 < row["open_gigabytes"] <= row["shuffle_gigabytes"] < 1
    assert list(tmp_path.iterdir()) == []


def test_the_loaders_help_teaches():
    assert "--index 42500000" in bench("loader", "--help").stdout


def test_worlds_are_timed_and_their_bytes_counted():
    done = bench(
        "scaling", *SMALL, *["--ranks", "1,2", "--threads", "1", "--steps", "1", "--rounds", "1"]
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [(row["ranks"], row["threads"]) for row in rows] == [(1, 1), (2, 1)]
    assert all(row["images_per_second"] > 0 for row in rows)
    single, double = rows
    assert single["efficiency"] == 1
    ratio = double["images_per_second"] / single["images_per_second"]
    assert abs(double["efficiency"] - ratio / 2) < 1e-3
    table = done.stdout.splitlines()[-len(rows) - 1 :]
    assert table[0].split() == list(single) and len(table[1].split()) == len(single)


def test_counted_bytes_are_those_of_the_formula_and_not_of_the_classes():
    row = json.loads(bench("scaling", *SMALL, "--simulate", "2").stdout.splitlines()[0])
    assert row["ranks"] == 2 and row["classes"] == [20, 2000]
    assert row["bytes_by_classes"] == [row["formula"]] * 2
    assert row["gathered"] + row["reduced"] == row["formula"] == 4 * (8 + 2 * 4 * 16 + 3 * 4) + 4


def test_training_beside_stock_paddle():
    sizes = "--backbone QuickFace_nano --batch 4 --classes 9 --rounds 2 --seconds 0.2"
    result = json.loads(bench("train", *sizes.split()).stdout)
    assert (result["batch"], result["classes"]) == (4, 9)
    speeds = result["images_per_second"]
    assert speeds.keys() == {"stock", "plsc"} == result["rounds"].keys()
    for name, found in result["rounds"].items():
        assert len(found) == 2 and statistics.median(found) == pytest.approx(speeds[name])
    assert result["plsc_over_stock"] == pytest.approx(speeds["plsc"] / speeds["stock"], abs=0.006)


def test_the_ways_to_embed():
    sizes = "--backbone QuickFace_nano --images 8 --batch 3 --rounds 1"
    report = json.loads(bench("embed", *sizes.split()).stdout)
    speeds = report["images_per_second"]
    assert list(speeds) == ["onnxruntime", "embedder", "evaluator", "paddle"]
    assert min(speeds.values()) > 0
    assert report["evaluator_runs"] == "onnxruntime"
    for name in ("embedder", "evaluator"):
        ratio = speeds[name] / speeds["onnxruntime"]
        assert abs(report[f"{name}_to_onnxruntime"] - ratio) < 0.01 * ratio + 0.001
    assert report["export_seconds"] > 0


@pytest.mark.parametrize("pairs", ["all", "gallery"])
def test_plain_numpy_gives_ijbs_figures(tmp_path, pairs):
    """At a thousandth of the size."""
    options = ["--scale", "0.001", "--dim", "32", "--pairs", pairs, "--plain", "--json"]
    report = json.loads(bench("ijb", *options, "--temporary", tmp_path).stdout)
    assert (report["faces"], report["pairs"]) == (469, 15658)
    assert set(report["parts"]) == {"reading the lists", "pooling", "scoring", "table"}
    assert all(part["peak_gigabytes"] > 0.01 for part in report["parts"].values())
    assert report["plain"]["largest_score_difference"] < 1e-5
    assert report["plain"]["tpr_at_fpr"] == pytest.approx(report["tpr_at_fpr"])
    assert not list(tmp_path.iterdir())


def test_a_plan_as_json():
    options = "-c", CONFIG, "-o", "Model.class_num=6000", "--gpus", 2, "--memory", 16, "--json"
    found = json.loads(bench("plan", *options).stdout)
    assert found["classes"] == 6000 and found["ranks"] == 2 and found["sampled"] == 1500
    assert found["device"]["head_rows"] == 3000 * 128 * 4
    assert found["device"]["resident"] < found["device"]["peak"] < 16e9
    assert found["largest_class_num"] > 10**6 and found["fits"] is True
    assert found["traffic"]["total"] > 0


def test_a_training_says_its_plan(run):
    run("train", "Global.epochs=1", size=2)
    text = (run.output / "train.log").read_text()
    assert text.count("estimate for a rank: about") == 1 and "exchanged in a step" in text
    assert "no estimate" not in text
