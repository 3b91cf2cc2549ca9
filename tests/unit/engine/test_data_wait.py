import re

import pytest
from logs import Log

from plsc.config.component import Component
from plsc.config.sections import (
    Config,
    DataLoaderConfig,
    LoaderConfig,
    SamplerConfig,
    TrainDataConfig,
)
from plsc.distributed.world import World
from plsc.engine import data_wait
from plsc.engine.data_wait import STEPS, DataWaitAdvice, remedies


class Timer:
    """An interval of the log."""

    def __init__(self, share, steps=10):
        self.steps, self.batch_cost, self.reader_cost = steps, 0.5, 0.5 * share


def data(name="FaceRecordDataset", num_workers=2, transform_ops=None):
    params = {} if transform_ops is None else {"transform_ops": transform_ops}
    dataset = Component(name, params, "DataLoader.Train.dataset")
    return TrainDataConfig(dataset, SamplerConfig(8), LoaderConfig(num_workers))


def said(shares, *, steps=10, **section):
    """After how many intervals of these shares each line was said, and the lines."""
    log = Log()
    judge = DataWaitAdvice(log, Config(DataLoader=DataLoaderConfig(Train=data(**section))))
    moments = []
    for number, share in enumerate(shares, 1):
        judge(Timer(share, steps))
        moments += [number] * (len(log.lines) - len(moments))
    return moments, log.lines


def test_it_is_said_once_and_not_of_the_first_interval():
    assert said([0.9] + [0.8] * 9)[0] == [3]
    assert said([0.9])[0] == []
    assert said([0.99] + [0.1] * 9)[0] == []


def test_nothing_is_said_where_compute_is_the_limit():
    assert said([0.0] * 50)[0] == []
    assert said([0.29] * 50)[0] == []


def test_it_is_said_later_if_it_becomes_so_later():
    assert said([0.1] * 7 + [0.8] * 8)[0] == [9]


def test_one_slow_batch_is_no_rule():
    lines_of_one_step = [0.05] * 60
    lines_of_one_step[30] = 0.98
    assert said(lines_of_one_step, steps=1)[0] == []
    assert said([0.5] * 60, steps=1)[0] == [STEPS + 1]


def test_the_line_names_share_and_values(monkeypatch):
    monkeypatch.setattr(data_wait, "cores", lambda: 16)
    place = World(local_size=4)
    monkeypatch.setattr(data_wait.world, "current", lambda: place)
    _, (line,) = said([0.62] * 5, name="FaceFolderDataset", num_workers=1)
    assert line.startswith("data is the limit: 62% of the time is spent waiting for it; what helps")
    assert "DataLoader.Train.loader.num_workers from 1 to 4" in line
    assert "16 core(s), 4 training process(es)" in line
    assert "FaceFolderDataset -> FaceRecordDataset" in line
    assert "\n" not in line


def test_the_rank_that_waits_is_named_by_those_that_wait_for_it(monkeypatch):
    monkeypatch.setattr(data_wait.world, "current", lambda: World(size=3))
    import paddle

    monkeypatch.setattr(
        data_wait, "gather", lambda own: paddle.concat([own, paddle.to_tensor([0.7, 0.0])])
    )
    _, (line,) = said([0.01] * 5)
    assert "70% of the time on rank 1 is spent" in line


@pytest.mark.parametrize(
    ("section", "cores", "processes", "expected"),
    [
        (data(num_workers=0), 8, 2, [r"num_workers from 0 to 4 \(this machine: 8 core", "disk"]),
        (data(num_workers=4), 8, 2, ["more cores .* num_workers 4 each", "disk"]),
        (data(num_workers=0), 1, 2, ["num_workers from 0 to 1", "disk"]),
        (data("FaceIdentificationDataset"), 2, 1, ["more cores", r"one \.rec file", "disk"]),
        (
            data(transform_ops=["DecodeImage", {"RandDownUpImage": {"probability": 1}}]),
            2,
            1,
            ["more cores", r"transform_ops \(RandDownUpImage\)", "disk"],
        ),
    ],
)
def test_only_what_applies_is_recommended(section, cores, processes, expected):
    found = list(remedies(section, cores=cores, processes=processes))
    assert len(found) == len(expected)
    for text, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, text)
