"""Which evaluation becomes `best_model`, and what the log says of it."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import logs
import pytest

from plsc.config.sections import Config, GlobalConfig, MetricConfig
from plsc.engine import evaluation
from plsc.engine.build import check_best_set
from plsc.engine.evaluation import Evaluation
from plsc.engine.progress import Progress
from plsc.errors import Unmeasurable, UserError


class Evaluator:
    """Gives one metric after another; None: the outputs tell nothing."""

    num_samples = 1

    def __init__(self, name, metrics):
        self.name, self.metrics = name, iter(metrics)

    def report(self, network):
        metric = next(self.metrics)
        if metric is None:
            raise Unmeasurable("embeddings have collapsed")
        return metric

    def scalars(self, metric):
        return {"accuracy": metric, "metric": metric, "eer": 0.25}

    def shown(self, result):
        return f"accuracy: {result['accuracy']:.5f}"


class Log(logs.Log):
    def __init__(self):
        super().__init__()
        self.entries = []

    def record(self, entry, *, scalars=None):
        self.entries.append(entry)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    @contextmanager
    def nothing(layer, precision, spec, *, num_samples):
        yield None

    monkeypatch.setattr(evaluation, "network_function", nothing)


def evaluated(sets, best_set):
    """(step, best metric) of each best model, and the log; a step for each metric of a set."""
    progress = Progress(epochs=1, num_images=100, steps_per_epoch=100, global_batch=1)
    training = SimpleNamespace(
        progress=progress, precision=None, network=SimpleNamespace(layer=None)
    )
    saved, log = [], Log()
    settings = GlobalConfig(device="cpu", eval_unit="step", eval_interval=1)
    measure = Evaluation(
        training,
        [Evaluator(name, metrics) for name, metrics in sets.items()],
        None,
        Config(Global=settings, Metric=MetricConfig(best_set=best_set)),
        checkpoints=SimpleNamespace(
            save=lambda best: saved.append((progress.step, progress.best_metric))
        ),
        log=log,
        pause=lambda what: nullcontext(),
    )
    for _ in range(len(next(iter(sets.values())))):
        progress.advance()
        measure.after("step")
    return saved, log


SETS = {"lfw": [0.75, 0.5, 0.875, 0.875], "cfp_fp": [0.25, 1.0, None, 0.625]}


def test_best_by_the_mean_of_the_sets():
    best, log = evaluated(SETS, "mean")
    assert best == [(1, 0.5), (2, 0.75)]  # 0.75 again at step 4 is no better
    assert [line for line in log.lines if "mean of 2" in line] == [
        "[Eval][Step 1] mean of 2: 0.50000",
        "[Eval][Step 2] mean of 2: 0.75000",
        "[Eval][Step 4] mean of 2: 0.75000",
    ]


def test_best_by_a_set():
    assert evaluated(SETS, "lfw")[0] == [(1, 0.75), (3, 0.875)]  # whatever the other set says
    assert evaluated(SETS, "cfp_fp")[0] == [(1, 0.25), (2, 1.0)]


def test_a_line_shows_what_the_metric_shows_and_all_is_recorded():
    _, log = evaluated({"lfw": [0.75, None]}, "mean")
    shown, warning = log.lines
    assert shown.endswith("lfw: accuracy: 0.75000")
    assert "lfw: WARNING: embeddings have collapsed" in warning
    assert (log.entries[0]["set"], log.entries[0]["eer"]) == ("lfw", 0.25)


def test_a_set_that_is_not_there():
    evaluators = [Evaluator(name, []) for name in ("lfw", "agedb_30", "cfp_fp")]
    for known in ("mean", "lfw", "cfp_fp"):
        check_best_set(Config(Metric=MetricConfig(best_set=known)), evaluators)
    check_best_set(Config(Metric=MetricConfig(best_set="x")), [])  # nothing is evaluated
    for given, hint in (("agedb", "did you mean 'agedb_30'?"), ("?", "known: agedb_30, cfp_fp, ")):
        with pytest.raises(UserError) as caught:
            check_best_set(Config(Metric=MetricConfig(best_set=given)), evaluators)
        message = f"Metric.best_set: no verification set is called {given!r}; {hint}"
        assert str(caught.value).startswith(message)
