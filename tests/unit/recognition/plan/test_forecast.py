"""What plsc-train says of memory at start."""

import pytest
from paddle import nn

from plsc.config.load import parse_config
from plsc.engine import memory
from plsc.recognition.plan import forecast


@pytest.fixture
def config():
    def make(classes=1000, ratio=1.0, batch=4, frozen=False, **pfc):
        return parse_config(
            {
                "Global": {"device": "cpu", "freeze_backbone": frozen},
                "Model": {
                    "name": "SmallFace",
                    "num_features": 32,
                    "class_num": classes,
                    "pfc_config": {"sample_ratio": ratio, **pfc},
                },
                "Optimizer": {"name": "Momentum"},
                "DataLoader": {
                    "Train": {"dataset": {"name": "X"}, "sampler": {"batch_size": batch}}
                },
            }
        )

    return make


@pytest.fixture
def free(monkeypatch):
    """`free(available, resident)` in bytes."""

    def put(available, resident=0):
        monkeypatch.setattr(memory, "available_memory", lambda: available)
        monkeypatch.setattr(memory, "resident_memory", lambda: resident)

    return put


def lines(config, backbone, *, ranks=1, local_ranks=1):
    return forecast.lines(config, backbone, ranks=ranks, local_ranks=local_ranks)


def test_one_line_with_the_estimate(config, free, small_backbone):
    free(100e9)
    (line,) = lines(config(), small_backbone(32))
    assert "estimate for a rank: about" in line and "activations" in line
    assert "exchanged" not in line and "disk" not in line
    (line,) = lines(config(), small_backbone(32), ranks=2)
    assert "exchanged in a step, whatever the classes" in line
    (line,) = lines(config(10**6, 0.001, storage="file"), small_backbone(32))
    assert "256 MB of disk for class centres" in line


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"batch": 4096}, "batch_size"),
        ({"classes": 10**7, "batch": 64}, "sample_ratio"),
        ({"classes": 10**8, "ratio": 0.0001}, "Model.pfc_config.storage to file"),
    ],
)
def test_a_warning_names_what_helps(config, free, small_backbone, arguments, remedy):
    free(0.3e9)
    _, warning = lines(config(**arguments), small_backbone(32))
    assert warning.startswith("WARNING: training needs about") and "300 MB are available" in warning
    assert remedy in warning and "\n" not in warning


def test_ranks_of_one_host_share_its_memory(config, free, small_backbone):
    free(1e9)
    assert len(lines(config(), small_backbone(32), ranks=2)) == 1
    _, warning = lines(config(), small_backbone(32), ranks=2, local_ranks=2)
    assert "for 2 ranks" in warning


def test_what_is_held_already_is_not_needed_again(config, free, small_backbone):
    free(0.1e9)
    assert len(lines(config(), small_backbone(32))) == 2
    free(0.1e9, resident=0.5e9)
    assert len(lines(config(), small_backbone(32))) == 1


def test_nothing_is_said_where_nobody_knows(config, free, small_backbone):
    free(None)
    assert len(lines(config(), small_backbone(32))) == 1


def test_class_centres_are_looked_at_before_they_are_made(config, free):
    free(2e9)
    ranks = {"ranks": 1, "local_ranks": 1}
    assert forecast.before_building(config(), **ranks) == []
    assert forecast.before_building(config(frozen=True), **ranks) == []
    (warning,) = forecast.before_building(config(10**8, 0.0001), **ranks)
    assert "26.2 GB more memory" in warning  # 25.6 of them for the centres
    assert forecast.before_building(config(10**8, 0.0001, storage="file"), **ranks) == []


class Unruly(nn.Layer):
    """A backbone from outside, which takes no image of the usual size."""

    num_features = 32

    def forward(self, images):
        raise RuntimeError(f"two\nlines about {images.shape}")


def test_a_backbone_that_cannot_be_traced_gets_a_line_that_says_why(config, free):
    free(1e9)
    (line,) = lines(config(), Unruly())
    assert line.startswith("no estimate of memory: Unruly cannot be traced: RuntimeError(")
    assert "[1, 3, 112, 112]" in line and "\n" not in line
