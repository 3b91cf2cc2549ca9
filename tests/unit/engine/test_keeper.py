"""Which evaluation becomes `best_model`."""

from types import SimpleNamespace

import pytest

from plsc.config.sections import Config, GlobalConfig, MetricConfig
from plsc.engine.build_data import check_best_set
from plsc.engine.keeper import Keeper
from plsc.engine.progress import Progress
from plsc.engine.trainer import StepReport
from plsc.errors import UserError
from plsc.recognition.metrics.verification import CollapsedEmbeddings


class Evaluator:
    """Gives one metric after another; None: the embeddings have collapsed."""

    def __init__(self, name, metrics):
        self.name, self.metrics = name, iter(metrics)

    def run(self, backbone, precision):
        metric = next(self.metrics)
        if metric is None:
            raise CollapsedEmbeddings("embeddings have collapsed")
        return {"accuracy": metric, "metric": metric, "eer": 0.25}

    def shown(self, result):
        return f"accuracy: {result['accuracy']:.5f}"


class Log:
    def __init__(self):
        self.lines, self.entries = [], []

    def line(self, text):
        self.lines.append(text)

    def record(self, entry, *, scalars=None):
        self.entries.append(entry)

    def advance(self, **shown):
        pass


class Saver:
    def __init__(self):
        self.best = []

    def save(self, progress, write, *, best):
        self.best.append((progress.step, progress.best_metric))
        return f"step_{progress.step}"


def keeper_of(evaluators=(), best_set="mean", first_ratio=1.0, **settings):
    given = {"device": "cpu", "eval_unit": "step", "eval_interval": 1, "save_interval": 1000}
    settings = GlobalConfig(**{**given, "print_batch_step": 1000, **settings})
    progress = Progress(epochs=1, num_images=100, steps_per_epoch=100, global_batch=1)
    return Keeper(
        SimpleNamespace(
            progress=progress,
            precision=None,
            freeze_backbone=False,
            backbone=SimpleNamespace(backbone=None),
            head=SimpleNamespace(ratio=lambda: first_ratio, losses=[]),
        ),
        Config(Global=settings, Metric=MetricConfig(best_set=best_set)),
        folder=None,
        log=Log(),
        saver=Saver(),
        evaluators=list(evaluators),
        meta={},
    )


def evaluated(sets, best_set):
    """(step, best metric) of each best model, and the log; a step for each metric of a set."""
    keeper = keeper_of([Evaluator(name, metrics) for name, metrics in sets.items()], best_set)
    for _ in range(len(next(iter(sets.values())))):
        keeper.training.progress.advance()
        keeper.after_step(report())
    return keeper.saver.best, keeper.log


def report(**changes):
    given = {"loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "loss_scale": 1.0, "skipped": False}
    return StepReport(**{**given, "statistics": {}, **changes})


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
    shown, _, warning = log.lines
    assert shown.endswith("lfw: accuracy: 0.75000")
    assert "lfw: WARNING: embeddings have collapsed" in warning
    assert (log.entries[0]["set"], log.entries[0]["eer"]) == ("lfw", 0.25)


def test_a_switch_of_the_sample_ratio_is_said_once():
    keeper = keeper_of(print_batch_step=2, first_ratio=0.25)
    for ratio in (0.25, 0.25, 1.0, 1.0):
        keeper.training.progress.advance()
        keeper.after_step(report(sample_ratio=ratio))
    said = [line for line in keeper.log.lines if "sample_ratio" in line]
    assert said == ["sample_ratio 0.25 -> 1 at step 3"]
    assert [entry["sample_ratio"] for entry in keeper.log.entries] == [0.25, 1.0]


def test_a_run_that_goes_on_after_a_switch_says_so():
    keeper = keeper_of(first_ratio=0.25)
    keeper.training.progress.step = 7
    keeper.after_step(report(sample_ratio=0.5))
    assert keeper.log.lines[0] == "sample_ratio 0.25 -> 0.5 at step 7"


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
