"""Curves of several models and measures as tables, JSON and pictures."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from matplotlib.figure import Figure

from plsc.errors import UserError
from plsc.quality.error_reject import error_reject_curve, pair_quality
from plsc.quality.evr_plot import COLOURS, OWN_COLOURS, colours_of, draw_curves
from plsc.quality.evr_results import SetCurves, curves_of, text_of
from plsc.quality.measures import MEASURES
from plsc.report import figures

PAIRS = 600


def made(seed=0):
    """Distances of pairs, which kind they are, and a quality that tells where they err."""
    generator = np.random.default_rng(seed)
    issame = generator.random(PAIRS) < 0.5
    quality = generator.random(2 * PAIRS)
    errs = generator.random(PAIRS) > pair_quality(quality) ** 0.3
    distances = np.where(issame, 0.2 + 0.3 * errs, 0.5) + generator.normal(0, 0.03, PAIRS)
    return distances, issame, {"magnitude": quality, "random": generator.random(2 * PAIRS)}


def found_on(*, models=("net",), fmrs=(1e-2, 1e-3, 1e-4), fixed=(False, True), seed=0):
    lines = []
    for number, model in enumerate(models):
        distances, issame, qualities = made(seed)
        lines += curves_of(
            distances + 0.01 * number, issame, qualities, model=model, fmrs=fmrs, fixed=fixed
        )
    return SetCurves("faces", issame, False, fmrs, fixed, lines)


def test_every_line_is_the_curve_of_its_measure():
    distances, issame, qualities = made()
    found = found_on(models=("a", "b"))
    assert (found.models, found.measures) == (["a", "b"], ["magnitude", "random"])
    assert len(found.lines) == 2 * 2 * 3 * 2
    for fmr in found.fmrs:
        for fixed in found.fixed:
            panel = found.panel(fmr, fixed)
            assert [(line.model, line.measure) for line in panel] == [
                (model, measure) for model in "ab" for measure in ("magnitude", "random")
            ]
            for line in panel[:2]:
                quality = pair_quality(qualities[line.measure])
                expected = error_reject_curve(distances, issame, quality, fmr=fmr, fixed=fixed)
                assert line.curve == expected
    fall = [line.curve.at(0.5).fnmr for line in found.panel(1e-2, True)[:2]]
    assert fall[0] < fall[1] - 0.1  # the quality that knows where they err


def test_tables():
    found = found_on()
    text = text_of(found)
    head, *parts = text.split("\n\n")
    impostors = int((~found.issame).sum())
    assert head == f"faces: {PAIRS} pairs, {impostors} impostors; images as they are"
    assert [part.splitlines()[0] for part in parts] == [
        f"FNMR % at FMR {fmr}, threshold {kind}"
        for fmr in ("1e-2", "1e-3", "1e-4")
        for kind in ("re-estimated at each share", "of the full set kept")
    ]
    magnitude, random = found.panel(1e-2, True)
    rows = [row.split() for row in parts[1].splitlines()[2:]]
    assert [row[0] for row in rows] == ["magnitude", "random"]
    for row, line in zip(rows, (magnitude, random), strict=True):
        points = [line.curve.at(share).fnmr for share in (0, 0.05, 0.1, 0.2, 0.5)]
        areas = [line.curve.area(0.2).mean_fnmr, line.curve.area().mean_fnmr]
        assert row[1:] == [f"{100 * value:.2f}" for value in points + areas]
    assert "* the threshold rests on fewer than 1/FMR" not in parts[1]
    end = found.panel(1e-3, False)[0].curve.end.reason
    stop = 100 * found.panel(1e-3, False)[0].curve.area().stop
    assert f"(to {stop:.0f} %) " in parts[2] and f"ends: {end}\n" in parts[2]
    assert parts[2].splitlines()[2].split()[1].endswith("*")  # 300 impostors for 1e-3
    assert parts[2].endswith("* the threshold rests on fewer than 1/FMR impostor pairs")
    assert parts[4].endswith(f"no curve: {impostors} impostor pairs, FMR 1e-4 needs 1001")
    both = text_of(found_on(models=("a", "b"), fmrs=(1e-2,), fixed=(True,)))
    assert [row.split()[:2] for row in both.splitlines()[4:]] == [
        [model, measure] for model in "ab" for measure in ("magnitude", "random")
    ]


def test_json():
    found = found_on(fmrs=(1e-2, 1e-4))
    written = json.loads(json.dumps(found.to_dict()))
    assert (written["pairs"], written["genuine"]) == (PAIRS, int(found.issame.sum()))
    for curve, line in zip(written["curves"], found.lines, strict=True):
        assert (curve["model"], curve["measure"]) == (line.model, line.measure)
        assert curve["threshold"] == ("fixed" if line.curve.fixed else "reestimated")
        assert [p["fnmr"] for p in curve["points"]] == [p.fnmr for p in line.curve.points]
    none = written["curves"][-1]
    assert none["points"] == [] and none["area"] is None and "needs 1001" in none["ended"]


@pytest.mark.parametrize("models", [("a",), ("a", "b", "c")])
def test_pictures(tmp_path, models):
    paths = [tmp_path / "faces.png", tmp_path / "faces.pdf"]
    draw_curves(found_on(models=models), paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG") and paths[1].read_bytes()[:4] == b"%PDF"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_drawn_is_what_was_found(monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self))
    models, fmrs = ("a", "b"), (1e-2, 1e-3)
    lines = [
        line
        for seed, model in enumerate(models)
        for line in found_on(models=[model], fmrs=fmrs, seed=seed).lines
    ]
    found = SetCurves("faces", made()[1], False, fmrs, (False, True), lines)
    monkeypatch.setattr(figures, "output_file", lambda path: nullcontext(path))
    draw_curves(found, ["never.png"])
    panels = np.array(drawn[0].axes).reshape(2, 2)
    for row, fixed in enumerate((False, True)):
        for column, fmr in enumerate(fmrs):
            curves = [line.curve for line in found.panel(fmr, fixed)]
            wanted = [100 * np.array([point.fnmr for point in curve.points]) for curve in curves]
            crosses = [line for line in panels[row, column].lines if line.get_marker() == "x"]
            assert len(crosses) == sum(curve.end is not None for curve in curves)
            assert bool(crosses) != fixed
            if fixed:
                wanted += [100 * curves[0].perfect(), 100 * curves[2].perfect()]
            shown = [np.column_stack(line.get_data()) for line in panels[row, column].lines]
            # A curve is a line up to where its rate is resolved and a pale one from there on.
            paths = [part for part in shown if len(part) > 1]
            for values in wanted:
                points = np.column_stack([5 * np.arange(len(values)), values])
                assert any(len(p) == len(points) and np.allclose(p, points) for p in paths) or any(
                    np.allclose(np.concatenate([first, second[1:]]), points)
                    for first in paths
                    for second in paths
                    if len(first) + len(second) - 1 == len(points)
                ), (fmr, fixed)


def test_colours_stay_with_their_measures():
    assert set(MEASURES) == set(OWN_COLOURS)
    assert colours_of(["random", "mine", "sharpness", "yours"]) == {
        "random": OWN_COLOURS["random"],
        "mine": COLOURS[0],
        "sharpness": OWN_COLOURS["sharpness"],
        "yours": COLOURS[1],
    }
    assert not set(COLOURS) & set(OWN_COLOURS.values())


def test_what_says_nothing():
    distances, issame, qualities = made()
    how = {"model": "net", "fmrs": [1e-2], "fixed": [False]}
    unit = 1 + 1e-7 * qualities["magnitude"]
    with pytest.raises(
        UserError, match=r"net: magnitude: .*length 1.*Export.preprocessing=none, or"
    ):
        curves_of(distances, issame, {"magnitude": unit}, **how)
    with pytest.raises(UserError, match="net: mine: quality is 3 for each of 1200"):
        curves_of(distances, issame, {"mine": np.full(2 * PAIRS, 3.0)}, **how)
    with pytest.raises(UserError, match="net: embeddings have collapsed: all pairs are at one"):
        curves_of(np.full(PAIRS, 0.5), issame, qualities, **how)
