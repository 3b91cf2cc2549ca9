"""Place the parts of a head in the image: a 2.5-D model, projected and aligned.

Head coordinates: x to the image's right, y down from the line of the eyes, z towards the viewer;
pixels of the 112x112 template. The features lie on an ellipsoid and turn with it; the outline is
that of the ellipsoid itself and so hardly narrows when the head turns.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.data.transforms.align import TEMPLATE
from plsc.datatools.drawn_face.parameters import Identity, View

Points = NDArray[np.float64]

CAMERA_DISTANCE = 420.0
DEPTH = 30.0  # of the ellipsoid; less than a skull's, as faces are flatter than ellipsoids


@cache
def _spline(num_points: int, steps: int, closed: bool) -> Points:
    """Return Catmull-Rom weights [samples, num_points] of a curve through `num_points` points."""
    spans = num_points if closed else num_points - 1
    weights = np.zeros((spans * steps + (not closed), num_points))
    for row in range(len(weights)):
        span, t = min(row // steps, spans - 1), row / steps
        t -= span
        basis = (
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        )
        for offset, weight in zip((-1, 0, 1, 2), basis, strict=True):
            index = span + offset
            index = index % num_points if closed else min(max(index, 0), num_points - 1)
            weights[row, index] += weight
    return weights


def curve(points: ArrayLike, *, closed: bool = False, steps: int = 5) -> Points:
    """Return a smooth curve [samples, d] through `points` [n, d]."""
    points = np.asarray(points, float)
    return _spline(len(points), steps, closed) @ points


def mirrored(right: ArrayLike) -> Points:
    """Return a closed outline from its right half, ordered from top to bottom; ends have x = 0."""
    right = np.asarray(right, float)
    left = right[-2:0:-1].copy()
    left[:, 0] *= -1
    return np.concatenate([right, left])


def aligning(points: Points, target: Points) -> tuple[complex, complex]:
    """Return the similarity z -> a z + b (complex) that brings points [n,2] nearest to target."""
    source, wanted = points[:, 0] + 1j * points[:, 1], target[:, 0] + 1j * target[:, 1]
    centred = source - source.mean()
    a = (centred.conj() * (wanted - wanted.mean())).sum() / (abs(centred) ** 2).sum()
    return complex(a), complex(wanted.mean() - a * source.mean())


class Head:
    """One identity in one view: places points of the head in an image of `size` pixels a side."""

    def __init__(self, identity: Identity, view: View, size: int):
        self.identity, self.view, self.size = identity, view, size
        yaw, pitch = math.radians(view.yaw), math.radians(view.pitch)
        cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
        turn_side = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        turn_up = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        self._rotation = (turn_up @ turn_side).T  # for points as rows
        self._widening = math.sqrt(cy * cy + 0.85 * sy * sy) / cy
        self._set_frame(1 + 0j, 0j)
        five = np.stack([self.place(point)[0] for point in self._five_points()])
        unit = size / 112
        a, b = aligning(five, TEMPLATE)
        jitter = view.scale * complex(
            math.cos(math.radians(view.roll)), math.sin(math.radians(view.roll))
        )
        middle = complex(*TEMPLATE.mean(axis=0))
        moved = (b - middle) * jitter + middle + complex(view.shift_x, view.shift_y)
        # Pixel centres are whole numbers at every size, hence the half pixels.
        self._set_frame(a * jitter * unit, (moved + (0.5 + 0.5j)) * unit - (0.5 + 0.5j))
        self.landmarks = np.stack([self.place(point)[0] for point in self._five_points()])

    def _set_frame(self, a: complex, b: complex) -> None:
        self._a, self._b = a, b
        self._scaled_roll = np.array([[a.real, a.imag], [-a.imag, a.real]])
        self._offset = np.array([b.real, b.imag])

    @property
    def frame(self) -> tuple[complex, complex]:
        """Return (a, b) of z -> a z + b from the turned head's plane to pixels."""
        return self._a, self._b

    def surface(self, xy: ArrayLike, lift: float = 0.0) -> Points:
        """Return points [n,3] on the face for [n,2]; `lift` raises them above the skin."""
        xy = np.asarray(xy, float)
        points = np.empty((len(xy), 3))
        points[:, :2] = xy
        across, along = xy[:, 0] / (1.12 * self.identity.face_width), (xy[:, 1] - 8) / 70
        inside = 1 - across * across - along * along
        points[:, 2] = DEPTH * np.sqrt(np.maximum(inside, 0.06)) + lift
        return points

    def place(self, points: ArrayLike) -> Points:
        """Return pixels [n,2] of head points [n,3], or of points [n,2] on the face."""
        points = np.asarray(points, float)
        if points.shape[1] == 2:
            points = self.surface(points)
        turned = points @ self._rotation
        flat = turned[:, :2] * (CAMERA_DISTANCE / (CAMERA_DISTANCE - turned[:, 2:]))
        return flat @ self._scaled_roll + self._offset

    def place_outline(self, points: ArrayLike) -> Points:
        """Return pixels of points [n,3] of the silhouette, which keeps its width in a turn."""
        points = np.array(points, float)
        points[:, 0] *= self._widening
        return self.place(points)

    def length(self, pixels: float) -> float:
        """Return a length of the template in pixels of this image."""
        return pixels * abs(self._a)

    def outline(self, grow: float = 0.0) -> Points:
        """Return key points [n,3] of the head's contour, closed, clockwise from the top."""
        face, drop = self.identity, 5 * self.view.mouth_open
        width, chin = face.face_width + grow, face.chin_y + drop + 0.4 * grow
        right = [
            (0, -62 - grow, -6),
            (0.60 * width, -54 - grow, -6),
            (0.93 * width, -30, -2),
            (1.00 * width, -4, 0),
            (0.97 * width + face.cheek * 0.5, 16, 3),
            ((0.5 + 0.5 * face.jaw_width) * width + face.cheek, 32 + 0.5 * drop, 6),
            (face.jaw_width * width * 0.86, chin - 14, 12),
            (face.chin_width * width, chin - 2.5, 22),
            (0, chin, 25),
        ]
        return mirrored(right)

    def mouth_corner(self) -> tuple[float, float]:
        """Return x and y of the right corner."""
        view = self.view
        x = self.identity.mouth_width * (1 + 0.17 * view.smile - 0.12 * view.mouth_open)
        return x, self.identity.mouth_y - 3.6 * view.smile + 1.5 * view.mouth_open

    def _five_points(self) -> list[Points]:
        face = self.identity
        x, y = self.mouth_corner()
        return [
            self.surface([(-face.eye_x, 0)]),
            self.surface([(face.eye_x, 0)]),
            self.surface([(0, face.nose_y)], lift=face.nose_depth),
            self.surface([(-x, y)]),
            self.surface([(x, y)]),
        ]
