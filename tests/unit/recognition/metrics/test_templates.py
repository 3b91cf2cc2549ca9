"""Templates of faces against implementations in plain loops, and what each pooling is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.recognition.metrics.ijb import pair_scores
from plsc.recognition.metrics.templates import POOLINGS, Templates, pool_templates


def score(magnitudes):
    """A stand-in for a model's calibration: some faces below 1, some far above."""
    return 100 / (1 + np.exp(-(np.asarray(magnitudes) - 24) / 4))


def plain_templates(features, template_ids, media_ids, factors, pooling):
    """Template id -> vector, float64, face by face; `features` [n, views, d]."""
    faces = []
    for views, factor in zip(features.astype(np.float64), factors, strict=True):
        face = sum(views)
        if pooling in ("mean", "score"):
            face = face / np.sqrt(face @ face)
        if pooling == "score":
            face = face * max(1, score(np.sqrt(views[0] @ views[0])))
        faces.append(face * factor)
    result = {}
    for template in sorted(set(template_ids.tolist())):
        total = np.zeros(features.shape[2])
        for medium in sorted(set(media_ids[template_ids == template].tolist())):
            of_medium = [
                face
                for face, one, other in zip(faces, template_ids, media_ids, strict=True)
                if (one, other) == (template, medium)
            ]
            mean = sum(of_medium) / len(of_medium)
            total += mean / np.sqrt(mean @ mean) if pooling == "media" else mean
        result[template] = total / np.sqrt(total @ total)
    return result


def pooled(features, templates, media, pooling, **named):
    """`pool_templates` with the scores that only one kind of pooling takes."""
    quality = score if pooling == "score" else None
    return pool_templates(features, templates, media, pooling=pooling, quality=quality, **named)


@pytest.fixture(scope="module")
def faces(request):
    with np.load(request.config.rootpath / "tests" / "golden" / "ijb.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_templates_of_the_golden_set_agree_with_plain_loops(faces, pooling):
    features = np.stack([faces["features"], faces["features_flipped"]], axis=1)
    ids, media, factors = faces["templates"], faces["medias"], faces["detector_scores"]
    expected = plain_templates(features, ids, media, factors, pooling)
    found = pooled(features, ids, media, pooling, detector_scores=factors)
    assert found.ids.tolist() == list(expected)
    np.testing.assert_allclose(found.vectors, list(expected.values()), atol=1e-6)
    scores = pair_scores(found, faces["pair_t1"], faces["pair_t2"])
    difference = abs(scores - faces["scores"]).max()  # those are InsightFace's
    assert difference < 2e-6 if pooling == "magnitude" else difference > 1e-3


@settings(deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    pooling=st.sampled_from(POOLINGS),
    flip=st.booleans(),
    views=st.sampled_from([None, 1, 2]),
    scored=st.booleans(),
    in_order=st.booleans(),
    at_once=st.sampled_from([1, 7, 8192]),
)
def test_pooling_agrees_with_plain_loops(
    seed, count, pooling, flip, views, scored, in_order, at_once
):
    random = np.random.default_rng(seed)
    templates = random.integers(5, 20, count) * 1000
    if in_order:
        templates.sort()
    media = random.integers(-3, 3, count)
    shape = (count, 6) if views is None else (count, views, 6)
    features = random.normal(0, 10, shape).astype(np.float32)
    detector = random.uniform(0.1, 1, count) if scored else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plsc.recognition.metrics.templates.POOLED_FACES", at_once)
        found = pooled(features, templates, media, pooling, detector_scores=detector, flip=flip)
    taken = features.reshape(count, -1, 6)[:, : 2 if flip else 1]
    factors = np.ones(count) if detector is None else detector
    expected = plain_templates(taken, templates, media, factors, pooling)
    assert found.ids.tolist() == list(expected)
    np.testing.assert_allclose(found.vectors, list(expected.values()), atol=5e-5)


@pytest.mark.parametrize("scale", [1, 40])
def test_what_counts_of_a_blurred_face(scale):
    """A sharp face and a short, blurred one at a right angle, of two media."""
    features = np.array([[30.0, 0], [0, 10]]) * scale
    vectors = {
        name: pooled(features.astype(np.float32), [1, 1], [1, 2], name).vectors[0]
        for name in POOLINGS
    }
    np.testing.assert_allclose(vectors["magnitude"], np.array([3, 1]) / 10**0.5, atol=1e-6)
    for name in ("mean", "media"):
        np.testing.assert_allclose(vectors[name], [0.5**0.5] * 2, atol=1e-6)
    weights = score(np.array([30, 10]) * scale)
    np.testing.assert_allclose(vectors["score"], weights / np.linalg.norm(weights), atol=1e-6)


def test_within_a_medium_the_magnitude_still_counts():
    features = np.array([[30.0, 0], [0, 10]], np.float32)
    for pooling, expected in (("media", [3, 1]), ("magnitude", [3, 1]), ("mean", [1, 1])):
        (vector,) = pooled(features, [1, 1], [5, 5], pooling).vectors
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_template_of_the_worst_faces_is_one():
    features = np.array([[3.0, 0], [0, 3]], np.float32)
    found = pool_templates(
        features, [1, 2], [1, 2], pooling="score", quality=lambda lengths: 0 * lengths
    )
    np.testing.assert_allclose(found.vectors, np.eye(2), atol=1e-7)


def test_a_medium_counts_once_however_many_frames_it_has():
    features = np.array([[3.0, 0], [3, 0], [3, 0], [0, 3]], np.float32)
    (vector,) = pool_templates(features, [7] * 4, [1, 1, 1, 2]).vectors
    np.testing.assert_allclose(vector, [0.5**0.5] * 2, atol=1e-7)


def test_media_of_one_number_are_parted_by_template():
    features = np.array([[1.0, 0], [0, 1], [1, 0]], np.float32)
    for pooling in POOLINGS:
        found = pooled(features, [1, 1, 2], [9, 8, 9], pooling)
        np.testing.assert_allclose(found.vectors, [[0.5**0.5] * 2, [1, 0]], atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_features_without_length_stay_zero(pooling):
    assert not pooled(np.zeros((2, 3), np.float32), [1, 2], [0, 0], pooling).vectors.any()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_features_that_are_not_finite_are_refused(pooling):
    features = np.ones((4, 2, 3), np.float32)
    features[2, 1, 0] = np.nan
    with pytest.raises(UserError, match=r"of 1 templates .* template 30:"):
        pooled(features, [10, 20, 30, 40], [0] * 4, pooling)
    assert pooled(features, [10, 20, 30, 40], [0] * 4, pooling, flip=False).ids.tolist()
    with pytest.raises(UserError, match="no faces"):
        pool_templates(features[:0], [], [])


@pytest.mark.parametrize("far_id", [12, 1 << 40], ids=["table", "search"])
@pytest.mark.parametrize("unknown", [0, 4, 1 << 41])
def test_an_unknown_template_is_named(far_id, unknown):
    templates = Templates(np.array([3, 5, far_id]), np.eye(3, dtype=np.float32))
    assert templates.rows([5, 3, far_id, 3]).tolist() == [1, 0, 2, 0]
    with pytest.raises(UserError, match=rf"^pair list: template {unknown} \(entry 2\) .*; 2 of"):
        templates.rows([5, unknown, 11, unknown])
    with pytest.raises(UserError, match="^pair list: template"):
        pair_scores(templates, [3, 5], [5, unknown])
