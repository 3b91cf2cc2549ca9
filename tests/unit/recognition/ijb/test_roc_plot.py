"""The picture of a curve."""

import pytest

from plsc.recognition.ijb.roc_plot import draw_roc
from plsc.recognition.metrics.ijb import tpr_at_fpr
from plsc.recognition.metrics.roc import roc_curve


def test_few_pairs_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    curve = roc_curve([0.9, 0.8, 0.1], [True, False, True])
    draw_roc(curve, tpr_at_fpr(curve), [tmp_path / "roc.png", tmp_path / "roc.pdf"], title="few")
    assert (tmp_path / "roc.png").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["roc.pdf", "roc.png"]
