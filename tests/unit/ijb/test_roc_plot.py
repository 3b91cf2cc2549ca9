"""The curve that is drawn, against counting."""

import numpy as np
import pytest

from plsc.ijb.roc_plot import curve_between, draw_roc
from plsc.metric.ijb import tpr_at_fpr
from plsc.metric.roc import roc_curve


@pytest.fixture
def scored():
    random = np.random.default_rng(0)
    same = random.random(5000) < 0.1
    return (random.normal(size=5000) + 2 * same).round(3), same


def test_the_drawn_curve_keeps_its_rates(scored):
    scores, same = scored
    fpr, tpr = curve_between(roc_curve(scores, same), 1e-6, 1e-1)
    assert fpr[0] == 1 / (~same).sum()  # below one impostor pair there is nothing to draw
    assert fpr[-1] == pytest.approx(0.1)
    assert (np.diff(tpr) >= 0).all()
    impostors = scores[~same]
    for rate, share in list(zip(fpr, tpr, strict=True))[::37]:
        allowed = [t for t in np.unique(scores) if (impostors >= t).mean() <= rate * (1 + 1e-9)]
        assert share == (scores[same] >= min(allowed)).mean()


def test_few_pairs_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curve = roc_curve([0.9, 0.8, 0.1], [True, False, True])
    draw_roc(curve, tpr_at_fpr(curve), [tmp_path / "roc.png", tmp_path / "roc.pdf"], title="few")
    assert (tmp_path / "roc.png").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["roc.pdf", "roc.png"]
