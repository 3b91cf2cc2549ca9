"""MagFace and Mag-CosFace: the authors' figures, the formulas, and what is said of lambda_g."""

import json

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from plsc.errors import UserError
from plsc.recognition.heads.centres import vector_norms
from plsc.recognition.losses.magface import MagCosFace, MagFace, quantiles
from plsc.recognition.losses.softmax import cross_entropy

LOSSES = {"magface": MagFace, "mag_cosface": MagCosFace}
FINE_TUNE = {"l_a": 1.0, "u_a": 51.0, "l_m": 0.45, "u_m": 1.0}


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
@pytest.mark.parametrize("name", LOSSES)
def test_the_figures_of_the_authors_code(name, dtype, tolerance):
    """Loss and gradients with the published settings, which are the defaults."""
    expected = json.loads((GOLDEN / "magface.json").read_text())[name]
    with np.load(GOLDEN / "magface_loss.npz") as file:
        arrays = dict(file)
    features, weight = (
        paddle.to_tensor(arrays[key].astype(dtype), stop_gradient=False)
        for key in ("features", "weight_dxc")
    )
    target, norms = paddle.to_tensor(arrays["labels"]), vector_norms(features)
    cosines = (features / norms) @ (weight / vector_norms(weight.T).T)
    margin = LOSSES[name]()
    output = margin(cosines, target, norms)
    identity = cross_entropy(output.logits, target)
    total = identity + output.extra
    total.backward()
    assert identity.item() == pytest.approx(expected["loss_id"], rel=tolerance)
    assert output.extra.item() == pytest.approx(margin.lambda_g * expected["loss_g"], rel=tolerance)
    assert total.item() == pytest.approx(expected["total"], rel=tolerance)
    key = name.replace("mag_cosface", "magcos")
    for leaf, part in ((features, "features"), (weight, "weight")):
        assert relative(leaf.grad.numpy(), arrays[f"{key}_grad_{part}"]) < tolerance


def numpy_logit(cosine, norm, *, cls, easy_margin, l_a, u_a, l_m, u_m, s):
    a = min(max(norm, l_a), u_a)
    margin = (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m
    if cls is MagCosFace:
        return s * (cosine - margin)
    angle = np.arccos(cosine)
    if easy_margin:
        return s * np.cos(angle + margin) if cosine > 0 else s * cosine
    if cosine > np.cos(np.pi - margin):
        return s * np.cos(angle + margin)
    return s * (cosine - margin * np.sin(np.pi - margin))


def away_from_corners(cosine, norm, limits, step=1e-3):
    """Where a difference quotient is the slope: not across a corner or a jump."""
    corners = [limits["l_a"], limits["u_a"]]
    return abs(cosine) > step and min(abs(norm - corner) for corner in corners) > step


@settings(max_examples=150, deadline=None)
@given(
    cosine=st.floats(-0.999, 0.999),
    norm=st.floats(0.1, 12),
    cls=st.sampled_from([MagFace, MagCosFace]),
    easy=st.booleans(),
    l_a=st.floats(0.5, 4),
    width=st.floats(0.5, 6),
    l_m=st.floats(0, 0.8),
    wider=st.floats(0.05, 0.7),
    s=st.floats(1, 64),
)
def test_logits_and_their_slopes(cosine, norm, cls, easy, l_a, width, l_m, wider, s):
    limits = {"l_a": l_a, "u_a": l_a + width, "l_m": l_m, "u_m": l_m + wider, "s": s}
    options = {"easy_margin": easy} if cls is MagFace else {}
    cosines = paddle.to_tensor([[0.25, cosine], [cosine, 0.5]], "float64", stop_gradient=False)
    norms = paddle.to_tensor([[norm], [norm]], "float64", stop_gradient=False)
    target = paddle.to_tensor([1, -1])  # the second row's class is another rank's
    logits = cls(**limits, **options)(cosines, target, norms).logits
    (logits * paddle.to_tensor([[1.0, 2.0], [3.0, 4.0]], "float64")).sum().backward()

    def expected(cosine, norm):
        return numpy_logit(cosine, norm, cls=cls, easy_margin=easy, **limits)

    own = expected(cosine, norm)
    np.testing.assert_allclose(
        logits.numpy(), [[s * 0.25, own], [s * cosine, s * 0.5]], rtol=1e-9, atol=1e-9
    )
    margin = (limits["u_m"] - l_m) / width * (min(max(norm, l_a), l_a + width) - l_a) + l_m
    jump = abs(cosine + np.cos(margin)) < 1e-3  # where easy_margin False changes its formula
    if not away_from_corners(cosine, norm, limits) or jump:
        return
    step = 1e-6
    slope = (expected(cosine + step, norm) - expected(cosine - step, norm)) / (2 * step)
    of_norm = (expected(cosine, norm + step) - expected(cosine, norm - step)) / (2 * step)
    np.testing.assert_allclose(
        cosines.grad.numpy(), [[s, 2 * slope], [3 * s, 4 * s]], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(norms.grad.numpy(), [[2 * of_norm], [0]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("a", "margin", "g"),
    [(10, 0.45, 0.100826), (20, 0.485, 0.051653), (60, 0.625, 0.021625), (110, 0.8, 0.018182)],
)
def test_margin_and_pull_of_a_magnitude(a, margin, g):
    loss, norms = MagFace(), paddle.to_tensor([[float(a)]], "float64")
    assert loss.margin(norms).item() == pytest.approx(margin, abs=1e-9)
    assert loss.regulariser(norms).item() == pytest.approx(g, abs=5e-7)


def test_beyond_the_widest_angle_for_its_margin():
    """There the cosine less m·sin m, so that the logit still falls; not a copy of the easy one."""
    norms = paddle.to_tensor([[30.0]] * 3, "float64")  # of margin 0.52
    angles = np.pi - np.array([0.1, 0.51, 0.53])
    cosines = paddle.to_tensor(np.stack([np.cos(angles), [0.2] * 3], axis=1))
    loss = MagFace(easy_margin=False, s=1.0)
    found = loss(cosines, paddle.zeros([3], "int64"), norms).logits.numpy()[:, 0]
    less = 0.52 * np.sin(0.52)
    wide = np.cos(angles[:2]) - less
    np.testing.assert_allclose(found, [*wide, np.cos(angles[2] + 0.52)], rtol=1e-12)


def test_what_is_logged():
    """Of all rows, wherever their classes are; the extra is of this rank's rows alone."""
    lengths = np.array([5.0, 20.0, 60.0, 111.0, 130.0])
    norms = paddle.to_tensor(lengths[:, None])
    cosines = paddle.full([5, 2], 0.3, "float64")
    output = MagFace()(cosines, paddle.to_tensor([0, -1, 1, -1, -1]), norms)
    a = lengths.clip(10, 110)
    pulls = 35 * (a / 110**2 + 1 / a) / 5
    assert output.extra.item() == pytest.approx(pulls[[0, 2]].sum(), rel=1e-12)
    found = {name: value.item() for name, value in output.statistics.items()}
    margins = 0.45 + 0.35 / 100 * (a - 10)
    assert found == pytest.approx(
        {
            "loss_mag": pulls.sum(),
            "magnitude_outside": 0.6,
            **{f"magnitude_p{p}": lengths[i] for p, i in ((5, 0), (50, 2), (95, 4))},
            **{f"margin_p{p}": margins[i] for p, i in ((5, 0), (50, 2), (95, 4))},
        },
        rel=1e-12,
    )


@pytest.mark.parametrize(("norm", "as_at"), [(3.0, 10.0), (500.0, 110.0)])
def test_outside_the_range_nothing_moves(norm, as_at):
    def found(value):
        norms = paddle.to_tensor([[value]], "float64", stop_gradient=False)
        cosines = paddle.to_tensor([[0.4, 0.1]], "float64", stop_gradient=False)
        output = MagFace()(cosines, paddle.to_tensor([0]), norms)
        (output.logits.sum() + output.extra).backward()
        return output.logits.numpy(), output.extra.item(), norms.grad.item()

    logits, extra, gradient = found(norm)
    np.testing.assert_array_equal(logits, found(as_at)[0])
    assert extra == found(as_at)[1]
    assert gradient == 0


def test_cosines_of_one_have_a_finite_gradient():
    cosines = paddle.to_tensor([[1.0, -1.0], [1.0, -1.0]], stop_gradient=False)
    norms = paddle.to_tensor([[20.0], [30.0]], stop_gradient=False)
    for easy in (True, False):
        output = MagFace(easy_margin=easy)(cosines, paddle.to_tensor([0, 1]), norms)
        (output.logits.sum() + output.extra).backward()
        assert np.isfinite(cosines.grad.numpy()).all()
        assert np.isfinite(norms.grad.numpy()).all()


@pytest.mark.parametrize(
    ("loss", "bound"),
    [(MagFace(), 22.586667), (MagCosFace(), 29.04), (MagFace(**FINE_TUNE), 0.704271)],
)
def test_the_bound_of_lambda_g(loss, bound):
    assert loss.bound() == pytest.approx(bound, rel=1e-6)
    (note,) = loss.notes()
    assert not note.startswith("WARNING")
    assert f"{bound:.4g}"[:4] in note


def test_the_trap_of_the_published_command_line():
    """Its default of 20 is below the bound."""
    (note,) = MagFace(lambda_g=20.0).notes()
    assert note.startswith("WARNING: MagFace:")
    assert "at least 22.5867; it is 20" in note


@pytest.mark.parametrize("cls", [MagFace, MagCosFace])
@pytest.mark.parametrize("u_a", [51.0, 73.0, 110.0])
def test_the_bound_as_it_is_shown_may_be_set(cls, u_a):
    (note,) = cls(u_a=u_a, lambda_g=0.0).notes()
    shown = float(note.split("at least ")[1].split(";")[0])
    assert not cls(u_a=u_a, lambda_g=shown).notes()[0].startswith("WARNING")
    assert cls(u_a=u_a, lambda_g=0.9999 * shown).notes()[0].startswith("WARNING")


def test_below_the_bound_a_good_sample_may_shrink():
    """What the bound means: above it the best magnitude of a sample grows with its cosine."""

    def best(lambda_g, cosine):
        loss = MagFace(lambda_g=lambda_g)
        norms = paddle.linspace(10.0, 110.0, 2001).unsqueeze(1).astype("float64")
        cosines = paddle.full([2001, 2], 0.0, "float64")
        cosines[:, 0] = cosine
        logits = loss(cosines, paddle.zeros([2001], "int64"), norms).logits.numpy()
        # one other class at 90 degrees stands for all of them
        costs = np.log1p(np.exp(-logits[:, 0])) + lambda_g * loss.regulariser(norms).numpy()[:, 0]
        return norms[int(costs.argmin())].item()

    assert best(MagFace().bound() * 1.01, 0.9) > best(MagFace().bound() * 1.01, 0.3) > 10
    assert best(1e-4, 0.3) == 10.0


@pytest.mark.parametrize("cls", [MagFace, MagCosFace])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"l_a": 110.0, "u_a": 10.0}, "l_a must be below u_a, got 110 and 10"),
        ({"l_m": 0.8, "u_m": 0.8}, "l_m must be below u_m, got 0.8 and 0.8"),
    ],
)
def test_an_empty_range(cls, options, text):
    with pytest.raises(UserError, match=f"Loss.Train.{cls.__name__}: {text}"):
        cls(**options)


def test_quantiles_are_values():
    values = paddle.to_tensor(np.random.default_rng(0).permutation(np.arange(101.0))[:, None])
    found = {name: value.item() for name, value in quantiles(values, "x").items()}
    assert found == {"x_p5": 5.0, "x_p50": 50.0, "x_p95": 95.0}
    one = quantiles(paddle.to_tensor([[7.0]]), "x")
    assert [value.item() for value in one.values()] == [7.0] * 3
