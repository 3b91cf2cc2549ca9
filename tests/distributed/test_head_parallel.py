"""Loss and all gradients of a training step on 1, 2 and 3 ranks against numpy in float64.

The step is `train_step` with the wrapper, the accumulation and the head of training; only the
optimizer is replaced, by one that keeps the gradients.
"""

import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("head_run.py")
BATCH, HIDDEN, DIM = 24, 7, 5
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}  # of each tensor's norm

ARCFACE = {"weight": 1.0, "m2": 0.5, "s": 16.0}
COSFACE = {"weight": 1.0, "m3": 0.4, "s": 64.0}
COMBINED = {"weight": 1.0, "m1": 1.35, "m2": 0.2, "m3": 0.1, "s": 16.0}
NORMS = {"name": "NormMargin", "weight": 0.5, "margin": 0.1, "pull": 0.7, "s": 8.0}
# Features here are 1 to 4 long: some are outside the range, on either side.
RANGE = {"l_a": 1.6, "u_a": 3.0, "l_m": 0.2, "u_m": 0.7, "lambda_g": 9.0, "s": 16.0}
MAGFACE = {"name": "MagFace", "weight": 1.0, **RANGE}
MAGCOS = {"name": "MagCosFace", "weight": 0.6, **RANGE}
ADAFACE = {"name": "AdaFace", "weight": 1.0, "m": 0.3, "h": 0.5, "s": 16.0, "t_alpha": 0.9}
SPREAD = [0, 9, 4, 4, 7, 2, 6, 8, 2, 9, 8, 0] * 2  # without 1, 3, 5
CASES = {
    "arcface": {"losses": [ARCFACE]},
    "arcface_f32": {"losses": [ARCFACE], "dtype": "float32"},
    "7_classes": {"losses": [COSFACE], "classes": 7, "labels": [label % 7 for label in SPREAD]},
    "as_many_classes_as_ranks": {"losses": [COSFACE], "classes": 3, "labels": [0, 1, 2] * 8},
    "all_of_the_first_rank": {"losses": [ARCFACE], "labels": [0, 1, 1, 0] * 6},
    "all_of_the_last_rank": {"losses": [ARCFACE], "labels": [8, 9, 9, 9] * 6},
    "one_class": {"losses": [COSFACE], "labels": [5] * BATCH},
    "sphereface": {"losses": [{"weight": 1.0, "m1": 1.35, "s": 64.0}]},
    "sampled": {"losses": [COMBINED], "sampled": "most"},
    "sampled_f32": {"losses": [COMBINED], "sampled": "most", "dtype": "float32"},
    "sampled_dense_update": {"losses": [COMBINED], "sampled": "most", "sparse_update": False},
    "sampled_unevenly": {"losses": [ARCFACE], "labels": [0, 1] * 12, "sampled": [0, 1, 2, 6, 9]},
    "two_parts": {"losses": [ARCFACE], "accum_steps": 2},
    "four_parts_sampled": {"losses": [ARCFACE], "accum_steps": 4, "sampled": "most"},
    "four_parts_dense_update": {
        "losses": [ARCFACE],
        "accum_steps": 4,
        "sampled": "most",
        "sparse_update": False,
    },
    "two_parts_f32": {"losses": [COSFACE], "accum_steps": 2, "dtype": "float32"},
    "several_losses": {"losses": [{**ARCFACE, "weight": 0.7}, {**COSFACE, "weight": 0.2}]},
    "norms": {"losses": [NORMS, ARCFACE], "accum_steps": 2},
    "magface": {"losses": [MAGFACE]},
    "magface_f32": {"losses": [MAGFACE], "dtype": "float32"},
    "magface_sampled_parts": {"losses": [MAGFACE], "sampled": "most", "accum_steps": 2},
    "magcosface": {"losses": [MAGCOS, ARCFACE], "labels": [8, 9, 9, 9] * 6},
    "adaface": {"losses": [ADAFACE]},
    "adaface_sampled_f32": {"losses": [ADAFACE], "sampled": "most", "dtype": "float32"},
    "filtered": {"losses": [ARCFACE], "threshold": 0.3},
    "filtered_sampled": {
        "losses": [{**ARCFACE, "weight": 0.7}, COSFACE],
        "threshold": 0.1,
        "sampled": "most",
        "accum_steps": 2,
        "dtype": "float32",
    },
}


def arrays_of(name):
    """The global batch and the weights of a case."""
    case, random = CASES[name], np.random.default_rng(0)
    classes = case.get("classes", 10)
    labels = np.array(case.get("labels", SPREAD))
    arrays = {
        "images": random.normal(0, 1, (BATCH, 12)),
        "w1": random.normal(0, 0.4, (12, HIDDEN)),
        "b1": random.normal(0, 0.1, HIDDEN),
        "w2": random.normal(0, 0.5, (HIDDEN, DIM)),
        "b2": random.normal(0, 0.1, DIM),
        "centres": random.normal(0, 0.5, (classes, DIM)),
    }
    arrays = {key: values.astype(case.get("dtype", "float64")) for key, values in arrays.items()}
    arrays["labels"] = labels
    if "sampled" in case:
        most = np.union1d(labels, [1])
        arrays["sampled"] = most if case["sampled"] == "most" else np.array(case["sampled"])
    return arrays


def normalised(vectors):
    """Unit vectors, lengths, and the map from d/d unit to d/d vectors."""
    norms = np.sqrt((vectors**2).sum(axis=1, keepdims=True) + 1e-12)
    unit = vectors / norms
    return unit, norms, lambda d: (d - unit * (unit * d).sum(axis=1, keepdims=True)) / norms


def changed_cosine(own, norms, term):
    """(changed, d/d own, d/d norms) of the target's cosines [n] as a margin changes them."""
    name, angle = term.get("name", "MarginLoss"), np.arccos(own)
    flat = np.zeros_like(own)
    if name == "NormMargin":
        return own - term["margin"] * norms, 1.0, flat - term["margin"]
    if name == "MarginLoss":
        m1, m2, m3 = term.get("m1", 1.0), term.get("m2", 0.0), term.get("m3", 0.0)
        turned = m1 * angle + m2
        return np.cos(turned) - m3, m1 * np.sin(turned) / np.sin(angle), flat
    if name == "AdaFace":
        clipped, m, alpha = norms.clip(1e-3, 100), term["m"], term["t_alpha"]
        mean, std = 20.0, 100.0
        for _ in range(2):  # head_run takes the step twice
            mean = alpha * clipped.mean() + (1 - alpha) * mean
            std = alpha * clipped.std(ddof=1) + (1 - alpha) * std
        quality = (term["h"] * (clipped - mean) / (std + 1e-3)).clip(-1, 1)
        turned = angle - m * quality
        assert (turned > 1e-3).all()
        return np.cos(turned) - m - m * quality, np.sin(turned) / np.sin(angle), flat
    slope = (term["u_m"] - term["l_m"]) / (term["u_a"] - term["l_a"])
    margin = slope * (norms.clip(term["l_a"], term["u_a"]) - term["l_a"]) + term["l_m"]
    slope = np.where((norms > term["l_a"]) & (norms < term["u_a"]), slope, 0)
    if name == "MagCosFace":
        return own - margin, 1.0, -slope
    turned, easy = angle + margin, own > 0
    return (
        np.where(easy, np.cos(turned), own),
        np.where(easy, np.sin(turned) / np.sin(angle), 1.0),
        np.where(easy, -np.sin(turned) * slope, 0.0),
    )


def extra_term(norms, term):
    """(sum over the batch, d/d norms) of what a margin adds to the cross entropy, n times."""
    if "pull" in term:
        return term["pull"] * norms, np.full_like(norms, term["pull"])
    if "lambda_g" not in term:
        return np.zeros_like(norms), np.zeros_like(norms)
    a, inside = norms.clip(term["l_a"], term["u_a"]), (norms > term["l_a"]) & (norms < term["u_a"])
    pull = term["lambda_g"] * (a / term["u_a"] ** 2 + 1 / a)
    return pull, np.where(inside, term["lambda_g"] * (1 / term["u_a"] ** 2 - 1 / a**2), 0)


def one_loss(cosines, labels, norms, term):
    """(loss, d/d cosines, d/d norms) of one margin."""
    rows, count = np.arange(len(labels)), len(labels)
    changed, slope, of_norms = changed_cosine(cosines[rows, labels], norms[:, 0], term)
    extra, of_extra = extra_term(norms[:, 0], term)
    logits = cosines.copy()
    logits[rows, labels] = changed
    logits *= term["s"]
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    loss = -np.log(chances[rows, labels]).mean() + extra.mean()
    gradient = chances
    gradient[rows, labels] -= 1
    gradient *= term["s"] / count
    d_norms = gradient[rows, labels] * of_norms + of_extra / count
    gradient[rows, labels] *= slope
    return loss, gradient, d_norms[:, None]


def reference(name, *, sampling=True, filtering=True):
    """Loss and gradients of the whole batch in one process, by hand."""
    arrays = {
        key: values.astype("float64") if values.dtype.kind == "f" else values
        for key, values in arrays_of(name).items()
    }
    every = np.arange(len(arrays["centres"]))
    used = arrays.get("sampled", every) if sampling else every
    labels = np.searchsorted(used, arrays["labels"])
    hidden = np.tanh(arrays["images"] @ arrays["w1"] + arrays["b1"])
    features = hidden @ arrays["w2"] + arrays["b2"]
    unit, norms, back = normalised(features)
    centre, _, centre_back = normalised(arrays["centres"][used])
    cosines = unit @ centre.T
    others = np.arange(len(used)) != labels[:, None]
    threshold = CASES[name].get("threshold", 1.0) if filtering else 1.0
    similar = others & (cosines > threshold)
    cosines[similar] = 0
    loss, d_cosines, d_norms = 0.0, 0.0, 0.0
    for term in CASES[name]["losses"]:
        parts = one_loss(cosines, labels, norms, term)
        loss += term["weight"] * parts[0]
        d_cosines = d_cosines + term["weight"] * parts[1]
        d_norms = d_norms + term["weight"] * parts[2]
    d_cosines[similar] = 0
    d_features = back(d_cosines @ centre) + d_norms * features / norms
    d_hidden = (d_features @ arrays["w2"].T) * (1 - hidden**2)
    d_centres = np.zeros_like(arrays["centres"])
    d_centres[used] = centre_back(d_cosines.T @ unit)
    return {
        "loss": np.array(loss),
        "features": d_features,
        "centres": d_centres,
        "w1": arrays["images"].T @ d_hidden,
        "b1": d_hidden.sum(axis=0),
        "w2": hidden.T @ d_features,
        "b2": d_features.sum(axis=0),
    }


@pytest.fixture(scope="module")
def found(module_worlds):
    """By world size, what each rank's step found for all cases."""
    arrays = {f"{name}/{key}": a for name in CASES for key, a in arrays_of(name).items()}
    options = {
        name: {
            "losses": case["losses"],
            "accum_steps": case.get("accum_steps", 1),
            "sparse_update": case.get("sparse_update", True),
            "threshold": case.get("threshold", 0.0),
        }
        for name, case in CASES.items()
    }
    results = {}
    for size in (1, 2, 3):
        worlds = module_worlds()
        np.savez(worlds.folder / "cases.npz", settings=json.dumps(options), **arrays)
        worlds.run(size, SCRIPT, worlds.folder / "cases.npz", worlds.folder / "out")
        results[size] = [dict(np.load(worlds.folder / f"out.{rank}.npz")) for rank in range(size)]
    return results


def centre_gradients(name, parts):
    """The ranks' row gradients as one [classes, d] array."""
    case = CASES[name]
    gradients = np.concatenate([part[f"{name}/rows"] for part in parts])
    if "sampled" not in case or not case.get("sparse_update", True):
        return gradients
    whole = np.zeros((case.get("classes", 10), DIM))
    whole[arrays_of(name)["sampled"]] = gradients
    return whole


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(found, name, size):
    parts, expected = found[size], reference(name)
    tolerance = TOLERANCE[CASES[name].get("dtype", "float64")]
    got = {
        "centres": centre_gradients(name, parts),
        "features": np.concatenate([part[f"{name}/features"] for part in parts]),
    }
    for rank, part in enumerate(parts):
        for key in ("loss", "w1", "b1", "w2", "b2"):
            got[f"{key} of rank {rank}"] = part[f"{name}/{key}"]
    for key, values in got.items():
        wanted = expected[key.split()[0]]
        assert values.shape == wanted.shape
        difference = np.linalg.norm(values - wanted)
        assert difference <= tolerance * np.linalg.norm(wanted), (key, values, wanted)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_agree_to_the_last_bit(found, size):
    first, *others = found[size]
    for other in others:
        for key, values in first.items():
            if key.split("/")[1] in ("loss", "norm", "w1", "b1", "w2", "b2"):
                np.testing.assert_array_equal(values, other[key], err_msg=key)


MAGNITUDES = [name for name in CASES if name.startswith("mag")]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", MAGNITUDES)
def test_what_is_logged_of_magnitudes(found, name, size):
    """Of all ranks' samples, wherever they are; of parts of a batch, their mean."""
    arrays, term = arrays_of(name), CASES[name]["losses"][0]
    hidden = np.tanh(arrays["images"] @ arrays["w1"] + arrays["b1"])
    norms = np.linalg.norm(hidden @ arrays["w2"] + arrays["b2"], axis=1)
    assert (norms < term["l_a"]).any() and (norms > term["u_a"]).any()
    pulls, _ = extra_term(norms, term)
    outside = ((norms < term["l_a"]) | (norms > term["u_a"])).mean()
    for part in found[size]:
        assert part[f"{name}/loss_mag"] == pytest.approx(pulls.mean(), rel=1e-5)
        assert part[f"{name}/magnitude_outside"] == pytest.approx(outside, rel=1e-5)
        if CASES[name].get("accum_steps", 1) == 1:
            low, middle, high = np.sort(norms)[[1, 12, 22]]  # of 24
            assert part[f"{name}/magnitude_p5"] == pytest.approx(low, rel=1e-5)
            assert part[f"{name}/magnitude_p50"] == pytest.approx(middle, rel=1e-5)
            assert part[f"{name}/magnitude_p95"] == pytest.approx(high, rel=1e-5)
        if len(CASES[name]["losses"]) == 1:
            whole = part[f"{name}/loss_id"] + part[f"{name}/loss_mag"]
            assert part[f"{name}/loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "sampled" in CASES[name]])
def test_a_sample_changes_the_loss(name):
    """Else the cases with samples would prove nothing."""
    assert abs(reference(name)["loss"] - reference(name, sampling=False)["loss"]) > 1e-2


@pytest.mark.parametrize("name", [name for name in CASES if "threshold" in CASES[name]])
def test_a_filter_changes_the_loss(name):
    assert abs(reference(name)["loss"] - reference(name, filtering=False)["loss"]) > 1e-2
