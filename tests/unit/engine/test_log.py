"""What a run logs: honest speeds, one history in metrics.jsonl, silence on other ranks."""

import importlib.util
import json
import math
import re
import time

import pytest

from plsc.engine import log
from plsc.engine.log import RunLog, duration, memory_peak
from plsc.engine.step_timer import WARM_STEPS, StepTimer


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(log.time, "perf_counter", lambda: self.now)

    def source(self, waits):
        for wait in waits:
            self.now += wait
            yield wait


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def timed(timer, source):
    """The items of `source`, with the wait for each counted."""
    while True:
        with timer.waiting():
            item = next(source, None)
        if item is None:
            return
        yield item


def costs(clock, *, every, steps=20, first=9.0, usual=1.0, wait=0.25):
    """(step, batch_cost, reader_cost) at each line of a run whose first steps are slow."""
    timer, lines = StepTimer(), []
    for step, _ in enumerate(timed(timer, clock.source([wait] * steps)), 1):
        clock.now += (first if step <= WARM_STEPS else usual) - wait
        timer.step()
        if step % every == 0:
            lines.append((step, timer.batch_cost, timer.reader_cost))
            timer.reset()
    return lines


@pytest.mark.parametrize("every", [1, 2, 5, 7, 10, 20])
def test_lines_after_the_first_steps_show_the_usual_time(clock, every):
    lines = costs(clock, every=every)
    assert [step for step, *_ in lines] == list(range(every, 21, every))
    for step, batch_cost, reader_cost in lines:
        expected = 9.0 if step <= WARM_STEPS else 1.0
        assert batch_cost == pytest.approx(expected), step
        assert reader_cost == pytest.approx(0.25), step


def test_a_reset_between_lines_leaves_its_time_out(clock):
    """An evaluation after step 8 takes 100 s, of which no step is accused."""
    timer = StepTimer()
    for step, _ in enumerate(timed(timer, clock.source([0.5] * 10)), 1):
        clock.now += 1.5
        timer.step()
        if step == 8:
            clock.now += 100
            timer.reset()
    assert timer.batch_cost == pytest.approx(2.0) and timer.reader_cost == pytest.approx(0.5)


@pytest.mark.parametrize("every", [1, 5])
def test_no_speed_is_absurd_in_real_time(every):
    """A step of 20 ms takes 20 ms or more, in the first epoch and in those after it."""
    timer = StepTimer()
    step = 0
    for _ in range(3):  # epochs of 5 steps: their ends fall on WARM_STEPS and on lines
        timer.reset()
        for _ in timed(timer, iter(range(5))):
            time.sleep(0.02)
            timer.step()
            step += 1
            if step % every == 0:
                assert 0.02 <= timer.batch_cost < 0.2
                assert 0 <= timer.reader_cost < 0.02
                timer.reset()


def test_duration():
    assert duration(3723.4) == "1:02:03"
    assert duration(2 * 86400 + 61) == "2 days, 0:01:01"


def fill(folder, steps, **more):
    writer = RunLog(folder, "train", enabled=True)
    for step in steps:
        writer.record({"kind": "train", "step": step, "loss": 1.0 / step, **more})
    writer.close()


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_resume_drops_what_will_be_done_again(tmp_path):
    fill(tmp_path, range(1, 8))
    kept = (tmp_path / "metrics.jsonl").read_text().splitlines()[:4]
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "eval", "step": 4, "metric": 0.5}\n')  # keeps its place
        file.write('{"kind": "eval", "step": 5, "metric": 0.6}\n')
        file.write('{"kind": "train", "step": 3, "lo')  # cut short by SIGKILL
    writer = RunLog(tmp_path, "train", enabled=True)
    writer.begin_metrics(resumed_at=4)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert lines == [*kept, '{"kind": "eval", "step": 4, "metric": 0.5}']
    writer.record({"kind": "train", "step": 5})
    assert entries(tmp_path / "metrics.jsonl")[-1] == {"kind": "train", "step": 5}
    assert len(entries(tmp_path / "metrics.jsonl")) == 6


@pytest.mark.parametrize("rubbish", ['{"step"', "[1]", "3", "null", '{"kind": 1}', '{"step": "x"}'])
def test_lines_that_say_no_step_are_dropped(tmp_path, rubbish):
    fill(tmp_path, [1, 2])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(rubbish)
    RunLog(tmp_path, "train", enabled=True).begin_metrics(resumed_at=10)
    assert [entry["step"] for entry in entries(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_fresh_run_sets_the_older_history_aside(tmp_path):
    fill(tmp_path, [1, 2])
    older = (tmp_path / "metrics.jsonl").read_text()
    writer = RunLog(tmp_path, "train", enabled=True)
    writer.begin_metrics(resumed_at=None)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert (tmp_path / "metrics.previous.jsonl").read_text() == older
    writer.record({"step": 1})
    assert entries(tmp_path / "metrics.jsonl") == [{"step": 1}]


@pytest.mark.parametrize("resumed_at", [None, 3])
def test_no_history_yet(tmp_path, resumed_at):
    RunLog(tmp_path, "train", enabled=True).begin_metrics(resumed_at=resumed_at)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_what_json_does_not_know_is_null(tmp_path):
    writer = RunLog(tmp_path, "train", enabled=True)
    writer.record({"step": 1, "loss": math.nan, "grad_norm": math.inf, "x": -math.inf, "lr": 0.5})

    def refuse(text):
        raise AssertionError(f"not JSON: {text}")

    entry = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert entry == {"step": 1, "loss": None, "grad_norm": None, "x": None, "lr": 0.5}


def test_other_ranks_write_nothing(tmp_path, capsys):
    writer = RunLog(tmp_path / "run", "train", enabled=False, visualdl=True)
    writer.begin_metrics(resumed_at=None)
    writer.line("hello")
    writer.warning("hello")
    writer.record({"step": 1}, scalars={"lr": 0.1})
    writer.progress(total=3, done=0, epoch="epoch 1")
    writer.advance(loss="1")
    writer.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_other_ranks_leave_the_history_alone(tmp_path):
    fill(tmp_path, [1, 2, 3])
    before = (tmp_path / "metrics.jsonl").read_text()
    for resumed_at in (None, 1):
        RunLog(tmp_path, "train", enabled=False).begin_metrics(resumed_at=resumed_at)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_lines_go_to_the_file_and_to_the_console(tmp_path, capsys):
    for text in ("one", "two"):  # a later run appends
        writer = RunLog(tmp_path / "new" / "run", "train", enabled=True)
        writer.line(text)
        assert text in (tmp_path / "new" / "run" / "train.log").read_text()  # at once
        writer.close()
    lines = (tmp_path / "new" / "run" / "train.log").read_text().splitlines()
    stamp = r"\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] plsc INFO: "
    assert len(lines) == 2 and all(re.match(stamp, line) for line in lines)
    assert capsys.readouterr().out.splitlines() == lines


def test_without_visualdl_one_warning_names_it(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        log.importlib.util, "find_spec", lambda name: None if name == "visualdl" else find(name)
    )
    run = RunLog(tmp_path / "run", "train", enabled=True, visualdl=True)
    run.record({"step": 1, "loss": 1.0}, scalars={"lr": 0.25})
    run.close()
    (line,) = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == [line]
    assert line.split("] ")[1] == (
        "plsc WARNING: Global.use_visualdl is True but VisualDL is not installed: metrics.jsonl "
        "has the figures, `pip install visualdl` brings it"
    )
    assert json.loads(run.metrics_file.read_text()) == {"step": 1, "loss": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_scalars_reach_visualdl(tmp_path, monkeypatch):
    class Writer:
        def __init__(self):
            self.calls, self.closed = [], False

        def add_scalar(self, **call):
            self.calls.append(call)

        def close(self):
            self.closed = True

    writer, folders = Writer(), []
    monkeypatch.setattr(log, "_visualdl_writer", lambda folder: folders.append(folder) or writer)
    run = RunLog(tmp_path / "run", "train", enabled=True, visualdl=True)
    run.record({"step": 4, "loss": 1.0}, scalars={"lr": 0.25})
    run.record({"step": 5})
    run.close()
    assert folders == [tmp_path / "vdl"]
    assert writer.calls == [{"tag": "lr", "value": 0.25, "step": 4}] and writer.closed


def test_peak_memory_where_the_system_tells_it(monkeypatch):
    assert re.fullmatch(r"peak memory \d+\.\d\d GiB", memory_peak())
    monkeypatch.setattr(log, "resource", None)
    assert memory_peak() == "peak memory unknown"


def test_a_name_reaches_the_log_and_the_console_as_text(tmp_path, capsys):
    """Control characters, line ends in other alphabets and bytes that are no text are escaped."""
    run_log = RunLog(tmp_path, "train", enabled=True)
    run_log.line("caf\udce9\x1b[2J\u2028.png ü")
    run_log.close()
    for shown in (capsys.readouterr().out, (tmp_path / "train.log").read_text("utf-8")):
        assert "caf\\udce9\\x1b[2J\\u2028.png ü" in shown


def test_files_that_cannot_be_written_end_no_run(tmp_path, capsys):
    """One warning for each, and whatever can still be written is."""
    run_log = RunLog(tmp_path, "train", enabled=True)
    run_log.metrics_file.mkdir()  # in its place, as after an upload that went wrong
    for step in (1, 2):
        run_log.record({"step": step})
    run_log.line("goes on")
    run_log.close()
    shown = capsys.readouterr().out
    assert shown.count("metrics.jsonl cannot be written, and the work goes on") == 1
    assert "goes on" in (tmp_path / "train.log").read_text("utf-8")


def test_a_full_disk_costs_lines_of_the_log_and_no_run(tmp_path, capsys, monkeypatch):
    run_log = RunLog(tmp_path, "train", enabled=True)
    run_log._text.close()
    with open("/dev/full", "wb", buffering=0) as run_log._text:
        run_log.line("first")
        run_log.line("second")
    shown = capsys.readouterr().out
    assert "first" in shown and "second" in shown and "Traceback" not in shown
    assert shown.count("the log cannot be written, and the work goes on: No space left") == 1


def test_damaged_lines_of_metrics_do_not_end_a_resume(tmp_path):
    whole = b'{"step": 1}\n{"step": 2}\n'
    damaged = b'{"step": "\xff"}\n{"step": 1e999}\n{"step": ' + b"[" * 100_000 + b"\n"
    run_log = RunLog(tmp_path, "train", enabled=True)
    run_log.metrics_file.write_bytes(damaged + whole + b'{"step": 3}\n{"st')
    run_log.begin_metrics(resumed_at=2)
    run_log.close()
    assert run_log.metrics_file.read_bytes() == whole
