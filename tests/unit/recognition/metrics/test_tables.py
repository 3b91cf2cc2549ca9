"""Tables: each figure at its place, aligned, short."""

import numpy as np
import pytest

from plsc.recognition.metrics.tables import aligned, set_tables, summary_rows, threshold_table
from plsc.recognition.metrics.verification import verify


def report(num_pairs, *, seed, name, flip=True, protocol="insightface"):
    rng = np.random.default_rng(seed)
    issame = np.arange(num_pairs) % 2 == 0
    first, stranger = rng.standard_normal((2, num_pairs, 16))
    second = np.where(issame[:, None], first + 0.8 * stranger, stranger)
    rows = np.stack([first, second], axis=1).reshape(2 * num_pairs, 16)
    return verify(rows, rows[:, ::-1] if flip else None, issame, name=name, protocol=protocol)


def test_aligned():
    rows = [["set", "pairs", "%"], ["lfw", "6000", "99.8", "a remark"], ["agedb_30", "7", ""]]
    assert aligned(rows).splitlines() == [
        "set       pairs     %",
        "lfw        6000  99.8  a remark",
        "agedb_30      7",
    ]


def test_threshold_table():
    measured = report(4000, seed=1, name="lfw")
    first, head, *rows = threshold_table(measured).splitlines()
    assert first == "lfw: 4000 pairs, 2000 of them impostors; sums with the mirrored images"
    assert head.split("  ")[0] == "FAR" and len(rows) == 6
    for row, point, count in zip(rows, measured.points, [200, 20, 2], strict=False):
        far, tar, *of, cosine, squared, angle = row.split()
        assert float(far) == point.far
        assert tar == f"{100 * point.tar:.2f}" and of == [str(count), "of", "2000"]
        assert float(cosine) == pytest.approx(point.threshold.cosine, abs=5.1e-5)
        assert float(squared) == pytest.approx(2 - 2 * point.threshold.cosine, abs=5.1e-5)
        assert np.cos(np.radians(float(angle[:-1]))) == pytest.approx(float(cosine), abs=3e-4)
    for row, far, needed in zip(
        rows[3:], ["1e-4", "1e-5", "1e-6"], [10**4, 10**5, 10**6], strict=True
    ):
        assert row.split() == [far, *"-----", "needs", str(needed), "impostors"]
    # Aligned: every figure ends where its column's title does.
    for title in ("TAR %", "impostors", "cosine", "L2^2", "angle"):
        end = head.index(title) + len(title)
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows)
    assert max(map(len, [first, head, *rows])) <= 80
    assert "images as they are" in threshold_table(report(20, seed=2, name="x", flip=False))


def test_set_table():
    reports = [report(2000, seed=3, name="lfw"), report(100, seed=4, name="agedb_30")]
    head, *rows, protocol = set_tables(reports).splitlines()
    assert protocol.startswith("accuracy by InsightFace's protocol, ")
    assert [row.split()[0] for row in rows] == ["lfw", "agedb_30", "mean"]
    figures = rows[0].split()[1:]
    lfw = reports[0]
    percents = [lfw.accuracy_flip.mean, lfw.accuracy_flip.std, lfw.accuracy.mean, lfw.accuracy.std]
    percents += [lfw.curve.at(1e-3).tar, lfw.curve.auc, lfw.curve.eer.rate]
    expected = ["2000", *(f"{100 * share:.2f}" for share in percents), f"{lfw.xnorm:.2f}"]
    assert [figure for figure in figures if figure != "±"] == expected
    assert rows[1].split()[8] == "-"  # 50 impostors do not resolve 1e-3
    both = np.mean([each.accuracy_flip.mean for each in reports])
    assert rows[2].split()[1] == f"{100 * both:.2f}" and rows[2].split()[3] == "-"
    assert rows[2].index(".") == rows[0].index(".")  # figures below figures
    assert max(map(len, [head, *rows])) <= 100


def test_one_set_has_no_mean_and_no_empty_column():
    text = set_tables([report(100, seed=5, name="own", flip=False)])
    assert len(text.splitlines()) == 3 and "without flip" not in text
    assert text.count("±") == 1


def test_accuracies_of_two_protocols_are_not_mixed():
    usual = [report(100, seed=6, name=name) for name in ("lfw", "own")]
    angular = report(100, seed=6, name="lfw", flip=False, protocol="magface")
    first, second = set_tables([usual[0], angular, usual[1]]).split("\n\n")
    assert [line.split()[0] for line in first.splitlines()] == [
        "set", "lfw", "own", "mean", "accuracy"
    ]  # fmt: skip
    head, row, protocol = second.splitlines()
    assert "without flip" not in head and row.split()[:2] == ["lfw", "100"]
    assert row.split()[2] == f"{100 * angular.accuracy.mean:.2f}"
    assert protocol.startswith("accuracy by MagFace's protocol, angles ")


def test_summary_names_the_protocol_and_the_unit_of_its_threshold():
    usual = dict(summary_rows(report(100, seed=7, name="own")))
    assert [line.split(",")[0] for line in usual["Accuracy"]][-1] == "by InsightFace's protocol"
    assert len(usual["Best threshold"]) == 1 and usual["Best threshold"][0].startswith("cosine ")
    measured = report(100, seed=7, name="own", flip=False, protocol="magface")
    angular = dict(summary_rows(measured))
    share, protocol = angular["Accuracy"]
    assert share.startswith(f"{100 * measured.accuracy.mean:.2f} ± ") and "MagFace's" in protocol
    threshold, caution = angular["Best threshold"]
    half_turns, cosine = measured.accuracy.threshold, measured.accuracy.cosine
    assert threshold.startswith(f"angle {half_turns:.2f} · 180°, cosine {cosine:.4f}: ")
    assert "of this set only" in caution
