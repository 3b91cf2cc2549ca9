"""What is measured on a verification set: golden figures, and each figure by other means."""

import json

import numpy as np
import pytest
from commands import python

from plsc.recognition.metrics.angular import angular_accuracy
from plsc.recognition.metrics.folds import verification_accuracy
from plsc.recognition.metrics.registered import AngularAcc, LFWAcc
from plsc.recognition.metrics.roc import FARS
from plsc.recognition.metrics.validation import val_at_far
from plsc.recognition.metrics.verification import CollapsedEmbeddings, thresholds_of, verify


@pytest.fixture
def figures(golden):
    return json.loads((golden / "metrics.json").read_text())


@pytest.fixture
def pairs(golden):
    with np.load(golden / "verification.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def pairs_of(num_pairs, *, seed, share_same=0.5, noise=1.0, dim=8):
    """Embeddings [2P, d] of pairs in random order, and issame [P]."""
    rng = np.random.default_rng(seed)
    issame = rng.permutation(np.arange(num_pairs) < round(share_same * num_pairs))
    first, stranger = rng.standard_normal((2, num_pairs, dim))
    second = np.where(issame[:, None], first + noise * stranger, stranger)
    return np.stack([first, second], axis=1).reshape(2 * num_pairs, dim), issame


def test_figures_are_golden(pairs, figures):
    measured = LFWAcc()(pairs["embeddings"], pairs["embeddings_flipped"], pairs["issame"])
    assert measured["accuracy-flip"] == pytest.approx(figures["accuracy_flip_mean"], abs=1e-9)
    assert measured["std"] == pytest.approx(figures["accuracy_flip_std"], abs=1e-9)
    assert measured["metric"] == measured["accuracy-flip"]
    assert measured["accuracy"] == pytest.approx(figures["accuracy_mean"], abs=1e-9)
    assert measured["accuracy_std"] == pytest.approx(figures["accuracy_std"], abs=1e-9)
    # The golden mean is of float32 lengths, added up in float32.
    assert measured["xnorm"] == pytest.approx(figures["xnorm"], rel=2e-7)


def test_figures_without_flip_are_golden(pairs, figures):
    measured = LFWAcc(flip_test=False)(pairs["embeddings"], None, pairs["issame"])
    assert measured["accuracy"] == pytest.approx(figures["accuracy_mean"], abs=1e-9)
    assert measured["std"] == pytest.approx(figures["accuracy_std"], abs=1e-9)
    assert measured["metric"] == measured["accuracy"]
    assert not {"accuracy-flip", "accuracy_std"} & measured.keys()
    same = LFWAcc(flip_test=False)(pairs["embeddings"], pairs["embeddings"], pairs["issame"])
    assert same == measured


def test_report_is_of_the_sums_with_the_mirrored():
    rows, issame = pairs_of(200, seed=2)
    flipped = 3 * np.random.default_rng(3).standard_normal(rows.shape)
    report = verify(rows, flipped, issame, name="lfw")
    assert report.accuracy == verification_accuracy(rows, issame)
    assert (
        report.accuracy_flip
        == report.best_accuracy
        == verification_accuracy(rows + flipped, issame)
    )
    assert report.val == val_at_far(rows + flipped, issame)
    assert report.xnorm == pytest.approx(
        np.mean([np.linalg.norm(row) for row in (*rows, *flipped)])
    )
    for score, one, two in zip(
        report.scores, (rows + flipped)[0::2], (rows + flipped)[1::2], strict=True
    ):
        assert score == pytest.approx(one @ two / np.sqrt((one @ one) * (two @ two)), abs=1e-12)


def test_report_without_flip():
    rows, issame = pairs_of(200, seed=4)
    report = verify(rows, None, issame)
    assert report.accuracy_flip is None and not report.flip
    assert report.best_accuracy == report.accuracy == verification_accuracy(rows, issame)
    assert report.xnorm == pytest.approx(np.mean(np.sqrt(np.sum(rows**2, axis=1))))
    assert report.to_dict()["accuracy_flip"] is None


def test_thresholds_hold_on_the_scores():
    rows, issame = pairs_of(4000, seed=5, share_same=0.25, noise=0.5)
    report = verify(rows, rows[:, ::-1], issame, name="cfp_fp")
    table = json.loads(json.dumps(thresholds_of(report)))
    assert (table["set"], table["flip"]) == ("cfp_fp", True)
    assert list(table["far"]) == ["1e-1", "1e-2", "1e-3"]
    for far, row in table["far"].items():
        accepted = report.scores >= row["cosine"]
        assert accepted[issame].mean() == row["tar"]
        assert accepted[~issame].mean() == float(far)  # 3000 impostors, no two scores alike
        assert row["impostors"] == 3000


@pytest.mark.parametrize("flip", [True, False])
def test_scalars_are_those_of_the_report(flip):
    rows, issame = pairs_of(2000, seed=6, noise=0.7)
    metric = LFWAcc(flip_test=flip)
    report = metric.report(rows, rows[:, ::-1] if flip else None, issame)
    scalars = metric(rows, rows[:, ::-1] if flip else None, issame)
    assert all(isinstance(value, float) for value in scalars.values())
    first = "accuracy-flip" if flip else "accuracy"
    assert list(scalars)[:6] == [
        first, "std", "xnorm", "threshold", "threshold_cosine", "metric"
    ]  # fmt: skip
    assert scalars["auc"] == report.curve.auc and scalars["eer"] == report.curve.eer.rate
    assert scalars["val"] == report.val.val
    rates = {name: value for name, value in scalars.items() if name.startswith("tar@")}
    assert list(rates) == ["tar@far=1e-1", "tar@far=1e-2", "tar@far=1e-3"]
    assert list(rates.values()) == [point.tar for point in report.points[:3]]
    shown = [first, "std", "xnorm", "tar@far=1e-3", "eer", "threshold_cosine"]
    assert metric.shown(scalars) == shown


def test_settings_reach_the_accuracies():
    rows, issame = pairs_of(200, seed=9)
    rows = rows + 2  # far from the origin, so that the projection says something else
    found = LFWAcc(nrof_folds=5, pca=3).report(rows, rows[:, ::-1], issame)
    assert found.accuracy == verification_accuracy(rows, issame, nrof_folds=5, pca=3)
    assert found.accuracy_flip == verification_accuracy(
        rows + rows[:, ::-1], issame, nrof_folds=5, pca=3
    )
    assert found.accuracy != verification_accuracy(rows, issame, nrof_folds=5)


def test_shown_are_figures_that_there_are():
    metric = LFWAcc(nrof_folds=2)
    for num_pairs, tar in ((8, []), (20, ["tar@far=1e-1"]), (20_002, ["tar@far=1e-3"])):
        rows, issame = pairs_of(num_pairs, seed=7, dim=2)
        scalars = metric(rows, rows, issame)
        shown = metric.shown(scalars)
        assert [name for name in shown if name.startswith("tar@")] == tar
        assert set(shown) <= set(scalars)


def test_report_as_json():
    rows, issame = pairs_of(300, seed=8)
    report = verify(rows, rows, issame, name="own")
    tree = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (tree["set"], tree["pairs"], tree["impostors"]) == ("own", 300, 150)
    assert tree["accuracy_flip"]["mean"] == np.mean(tree["accuracy_flip"]["folds"])
    assert tree["accuracy_flip"]["cosine"] == 1 - tree["accuracy_flip"]["threshold"] / 2
    assert [point["far"] for point in tree["operating_points"]] == list(FARS)
    assert [point["resolved"] for point in tree["operating_points"]] == [True, True] + [False] * 4
    assert tree["val"].keys() == {"val", "std", "far", "target"}
    assert tree["eer"]["rate"] == report.curve.eer.rate


def test_embeddings_that_are_not_finite_are_said_to_be():
    whole, issame = pairs_of(40, seed=10)
    broken = whole.copy()
    broken[[3, 9], 2] = np.nan, np.inf
    for plain, mirrored in ((broken, whole), (whole, broken)):
        with pytest.raises(CollapsedEmbeddings, match="2 of 80 hold NaN or infinity"):
            LFWAcc()(plain, mirrored, issame)
    with pytest.raises(CollapsedEmbeddings, match="2 of 80 hold NaN or infinity"):
        LFWAcc(flip_test=False)(broken, None, issame)


def test_inputs_stay_as_they_are():
    rows, issame = pairs_of(20, seed=13)
    before, pairs_before = rows.copy(), issame.copy()
    report = LFWAcc().report(rows, rows, issame)
    LFWAcc(pca=2)(rows, rows, issame)
    np.testing.assert_array_equal(rows, before)
    issame[:] = ~issame
    np.testing.assert_array_equal(report.issame, pairs_before)


def test_metrics_import_numpy_only():
    modules = "identification, ijb, registered, roc, tables"
    code = f"import sys; from plsc.recognition.metrics import {modules}; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python("-c", code).stdout.split()}
    assert not loaded & {"paddle", "cv2", "scipy", "sklearn", "pandas"}


def test_of_magfaces_protocol_only_the_accuracy_is_another():
    rows, issame = pairs_of(200, seed=14, noise=0.8)
    rows = rows + 1  # a mean that counts
    usual, angular = (
        verify(rows, None, issame, name="own", protocol=protocol)
        for protocol in ("insightface", "magface")
    )
    assert angular.accuracy == angular_accuracy(rows, issame) != usual.accuracy
    assert (angular.val, angular.xnorm, angular.points) == (usual.val, usual.xnorm, usual.points)
    assert thresholds_of(angular) == thresholds_of(usual)
    trees = [report.to_dict() for report in (usual, angular)]
    assert [tree["accuracy"]["protocol"] for tree in trees] == ["insightface", "magface"]
    assert {name for name in trees[0] if trees[0][name] != trees[1][name]} == {"accuracy"}


def test_scalars_of_magfaces_protocol():
    rows, issame = pairs_of(200, seed=15, noise=0.8)
    metric = AngularAcc(nrof_folds=5)
    scalars = metric(rows, rows[:, ::-1], issame)
    accuracy = angular_accuracy(rows, issame, nrof_folds=5)
    assert scalars["accuracy-magface"] == scalars["metric"] == accuracy.mean
    assert scalars["std"] == accuracy.std and scalars["threshold_angle"] == accuracy.threshold
    usual = LFWAcc(flip_test=False, nrof_folds=5)(rows, None, issame)
    of_protocol = {"std", "metric"}
    shared = scalars.keys() & usual.keys() - of_protocol
    assert scalars.keys() - shared == {"accuracy-magface", "threshold_angle", *of_protocol}
    assert {name: scalars[name] for name in shared} == {name: usual[name] for name in shared}
    shown = ["accuracy-magface", "std", "xnorm", "tar@far=1e-2", "eer", "threshold_angle"]
    assert metric.shown(scalars) == shown
