"""Five landmarks of a face -> the upright crop that face recognition takes.

Landmarks are float [5, 2], x and y in pixels from the image's upper left corner, in the order left
eye, right eye, tip of the nose, left and right corner of the mouth: left and right as one sees the
image, not as the person would say.
"""

import cv2
import numpy as np
import numpy.typing as npt

from plsc.errors import UserError

FACE_SIZE = 112  # pixels, both sides of an aligned face: of crops, and of what backbones take
FACE_SHAPE = (3, FACE_SIZE, FACE_SIZE)
TEMPLATE = np.array(  # where the five landmarks are in crops of that size
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
LEAST_EXTENT, FARTHEST = 1.0, 1e7  # pixels


def template(size: int = FACE_SIZE) -> npt.NDArray[np.float64]:
    """Return where the landmarks are in crops of `size` x `size`, float64 [5, 2]."""
    return TEMPLATE * (size / FACE_SIZE)


def similarity_transform(
    points: npt.ArrayLike, *, size: int = FACE_SIZE
) -> npt.NDArray[np.float64]:
    """Return the rotation, scale and shift that bring landmarks nearest to the template.

    Nearest in the sum of squared distances (Umeyama 1991, without reflection). In the plane this is
    linear in a = scale · cos and b = scale · sin of the angle, hence has a closed form.

    Args:
        points: float [5, 2], in pixels.
        size: side of the square that the template is for.

    Returns:
        float64 [2, 3], [[a, -b, dx], [b, a, dy]]: image -> crop, as `cv2.warpAffine` takes it.

    Raises:
        UserError: the points are not five, not finite, or all within one pixel.

    """
    source = np.asarray(points, np.float64)
    if source.shape != TEMPLATE.shape:
        raise UserError(f"landmarks must be five points, x and y, got shape {list(source.shape)}")
    numbers = source.ravel().tolist()
    if not (np.abs(source) < FARTHEST).all():  # nan is not below anything
        raise UserError(f"landmarks must be finite numbers of pixels, got {numbers}")
    if np.ptp(source, axis=0).max() < LEAST_EXTENT:
        raise UserError(
            f"landmarks lie within one pixel, they must be in pixels of the image: {numbers}"
        )
    target = template(size)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    (x, y), (u, v) = (source - source_mean).T, (target - target_mean).T
    spread = (x**2 + y**2).sum()
    a, b = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, target_mean - turn @ source_mean])


def aligned_points(points: npt.ArrayLike, *, size: int = FACE_SIZE) -> npt.NDArray[np.float64]:
    """Return where an aligned face's own landmarks are in its crop, float64 [5, 2]."""
    transform = similarity_transform(points, size=size)
    return np.asarray(points, np.float64) @ transform[:, :2].T + transform[:, 2]


def misfit(points: npt.ArrayLike) -> float:
    """Return root mean square distance of aligned landmarks from the template, in pixels of 112.

    Faces from the front have about 3, in profile up to about 12; landmarks in another order have
    more (left and right exchanged: 22).
    """
    return float(np.sqrt(((aligned_points(points) - TEMPLATE) ** 2).sum(axis=1).mean()))


def align(
    image: npt.NDArray[np.uint8], points: npt.ArrayLike, *, size: int = FACE_SIZE
) -> npt.NDArray[np.uint8]:
    """Return the face in `image` as a crop [size, size, 3], bilinear, black beyond the image.

    Args:
        image: uint8 [h, w, 3], colours in any order.
        points: its landmarks, float [5, 2].
        size: side of the crop; the template grows and shrinks with it.

    Raises:
        UserError: the points are not five, not finite, or all within one pixel.

    """
    transform = similarity_transform(points, size=size)
    return cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
