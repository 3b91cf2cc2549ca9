import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.data.transforms.align import align, aligned_points, misfit, similarity_transform, template
from plsc.datatools.drawn_face.render import Identity, View, render_face
from plsc.errors import UserError

# Where recognition models expect left eye, right eye, nose, left and right corner of the mouth.
PUBLISHED = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)


def umeyama(source, target):
    """Umeyama 1991, equations 40 to 43, by singular values; independent of the closed form."""
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    centred = source - mean_source
    left, values, right = np.linalg.svd((target - mean_target).T @ centred / len(source))
    signs = np.array([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (values * signs).sum() / (centred**2).sum() * len(source)
    return np.column_stack([scale * rotation, mean_target - scale * rotation @ mean_source])


def linear_least_squares(source, target):
    """[[a, -b, c], [b, a, d]] from ten equations in four unknowns."""
    one, zero = np.ones(len(source)), np.zeros(len(source))
    x, y = source.T
    equations = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    (a, b, c, d), *_ = np.linalg.lstsq(equations, target.T.ravel(), rcond=None)
    return np.array([[a, -b, c], [b, a, d]])


def moved(points, angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift, turn


def test_the_template():
    assert np.array_equal(template(), PUBLISHED)
    assert np.allclose(template(224), 2 * PUBLISHED)
    template()[:] = 0
    assert np.array_equal(template(), PUBLISHED)


points_of_five = st.lists(
    st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000)), min_size=5, max_size=5
).map(np.array)


@settings(max_examples=200)
@given(points=points_of_five, size=st.sampled_from([112, 96, 224]))
def test_equals_two_independent_solutions(points, size):
    if np.ptp(points, axis=0).max() < 2:
        return
    found = similarity_transform(points, size=size)
    assert found.dtype == np.float64 and found.shape == (2, 3)
    target = PUBLISHED * size / 112

    def placed(transform):
        return points @ transform[:, :2].T + transform[:, 2]

    expected = placed(linear_least_squares(points, target))
    assert np.allclose(placed(found), expected, atol=1e-5)
    assert np.allclose(placed(umeyama(points, target)), expected, atol=1e-5)
    assert np.allclose(aligned_points(points, size=size), expected, atol=1e-5)


@settings(max_examples=100)
@given(
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.05, 50),
    shift=st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
)
def test_a_moved_template_comes_back(angle, scale, shift):
    points, turn = moved(PUBLISHED, angle, scale, shift)
    found = similarity_transform(points.astype(np.float32))
    inverse = np.linalg.inv(turn)
    assert np.allclose(found[:, :2], inverse, rtol=1e-3, atol=1e-3 / scale)
    assert np.abs(aligned_points(points) - PUBLISHED).max() < 1e-6
    assert misfit(points) < 1e-6


def test_lists_do_as_well_and_nothing_is_edited():
    points = PUBLISHED.copy()
    assert np.allclose(similarity_transform(points.tolist()), [[1, 0, 0], [0, 1, 0]])
    similarity_transform(points)
    assert np.array_equal(points, PUBLISHED)


NAN = PUBLISHED.copy()
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((5, 2), 33.0), "lie within one pixel"),
        (PUBLISHED / 112, "lie within one pixel, they must be in pixels"),
        (np.zeros((5, 2)), "lie within one pixel"),
        (NAN, "finite numbers of pixels, got .*nan"),
        (PUBLISHED * np.inf, "finite numbers"),
        (PUBLISHED * 1e200, "finite numbers"),
        (PUBLISHED[:4], r"five points, x and y, got shape \[4, 2\]"),
        (PUBLISHED.ravel(), r"got shape \[10\]"),
        (PUBLISHED.T, r"got shape \[2, 5\]"),
    ],
)
@pytest.mark.parametrize(
    "use", [similarity_transform, misfit, lambda points: align(np.zeros((9, 9, 3), "u1"), points)]
)
def test_what_are_no_landmarks_is_said_in_one_line(points, message, use):
    with pytest.raises(UserError, match=message) as caught:
        use(points)
    assert "\n" not in str(caught.value)


def test_landmarks_in_another_order_do_not_fit():
    _, points, _ = render_face(Identity.sample(0, 0), View.sample(0, 0, 0))
    assert misfit(points) < 6
    for order in ([1, 0, 2, 4, 3], [0, 1, 3, 4, 2], [2, 0, 1, 3, 4], [3, 4, 2, 0, 1]):
        assert misfit(points[order]) > 13
    assert misfit(points[:, ::-1]) > 13  # y before x


@pytest.mark.parametrize("size", [112, 64, 160])
def test_the_crop_is_the_image_seen_through_the_inverse(size):
    """Each pixel of a smooth image, looked up in float64."""
    y, x = np.mgrid[0:300, 0:400]
    image = np.stack([x / 2, y / 2, (x + y) / 4], axis=2).round().astype(np.uint8)
    before = image.copy()
    points, _ = moved(PUBLISHED, 0.4, 1.3, (180, 60))
    crop = align(image, points, size=size)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    assert np.array_equal(image, before)
    whole = np.vstack([linear_least_squares(points, PUBLISHED * size / 112), [0, 0, 1]])
    rows, columns = np.mgrid[0:size, 0:size]
    places = np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    u, v, _ = np.linalg.inv(whole) @ places
    inside = (u > 1) & (u < 398) & (v > 1) & (v < 298)
    assert inside.mean() > 0.9
    expected = np.stack([u / 2, v / 2, (u + v) / 4], axis=1)[inside]
    assert np.abs(crop.reshape(-1, 3)[inside] - expected).max() < 1.5


def test_black_where_the_image_has_ended():
    image = np.full((60, 60, 3), 200, np.uint8)
    crop = align(image, PUBLISHED)  # the points of a crop in an image that is smaller than one
    assert (crop[:60, :60] == 200).all()
    assert (crop[61:] == 0).all() and (crop[:, 61:] == 0).all()


@pytest.mark.parametrize("person", range(4))
def test_a_face_comes_out_the_same_wherever_it_was(person):
    view = View.sample(0, person, 0)
    image, points, _ = render_face(Identity.sample(0, person), view, size=224)
    straight = align(image, points)
    for angle, scale in [(0.7, 1.5), (-2.5, 2.0), (np.pi, 1.0)]:
        shift = np.array([500, 450]) - scale * 112
        there, turn = moved(points, angle, scale, shift)
        matrix = np.column_stack([turn, shift])
        centre = turn @ [112, 112] + shift
        matrix[:, 2] += [500, 450] - centre
        canvas = cv2.warpAffine(image, matrix, (1000, 900), flags=cv2.INTER_CUBIC)
        crop = align(canvas, there + [500, 450] - centre)
        inner = slice(20, 92)  # where the image is in all of them
        difference = np.abs(crop.astype(int) - straight)[inner, inner]
        assert difference.mean() < 3
