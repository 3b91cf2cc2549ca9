"""Light on a painted head, then the camera: relief, lamp, white balance, blur, noise, crop."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.data.transforms.degrade import with_noise
from plsc.datatools.drawn_face.canvas import Canvas, Image, blurred
from plsc.datatools.drawn_face.head import Head, Points, curve
from plsc.datatools.drawn_face.paint import CIRCLE

RELIEF_UNIT = 1024  # steps of the 16-bit relief per template pixel of height
RELIEF_BASE = 16 * RELIEF_UNIT


def light(canvas: Canvas, head: Head) -> NDArray[np.float32]:
    """Light a painted canvas: float32 RGB [size,size,3], 0..255 and above.

    Only sums, products and square roots of arrays occur here, and 16-bit integers in the blur:
    these round alike on every machine.
    """
    view, size = head.view, head.size
    colours = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA)
    on_head = cv2.resize(canvas.head, (size, size), interpolation=cv2.INTER_AREA)
    share = on_head.astype(np.float32) * np.float32(1 / 255)

    azimuth, elevation = math.radians(view.light_azimuth), math.radians(view.light_elevation)
    lamp = np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            -math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ]
    ).astype(np.float32)
    nx, ny, nz = _normals(head)
    facing = np.maximum(nx * lamp[0] + ny * lamp[1] + nz * lamp[2], 0)
    strength = np.float32(view.light_strength)
    # 1.35: a frontal lamp leaves the face's mean brightness where it was.
    shade = (1 - strength) + strength * np.float32(1.35) * facing
    half_z = nz * (1 + lamp[2]) + nx * lamp[0] + ny * lamp[1]  # towards the half vector, unscaled
    length = max(1e-3, math.sqrt(2 + 2 * float(lamp[2])))
    gloss = np.maximum(half_z * np.float32(1 / length), 0)
    for _ in range(4):
        gloss = gloss * gloss
    ramp = np.linspace(-0.25, 0.25, size, dtype=np.float32)
    surroundings = 1 + strength * (ramp[None, :] * lamp[0] + ramp[:, None] * lamp[1])
    total = surroundings + (shade - surroundings) * share
    exposure = np.float32(view.exposure)
    gains = np.array([1 + view.warmth, 1 + view.tint, 1 - view.warmth], np.float32) * exposure
    shine = gloss * share * (strength * np.float32(34))
    return (colours * total[..., None] + shine[..., None]) * gains


def photograph(lit: NDArray[np.float32], head: Head, rng: np.random.Generator) -> Image:
    """Return what the camera makes of a lit scene: uint8 RGB [size,size,3]."""
    view, size = head.view, head.size
    image = np.rint(np.clip(lit, 0, 255)).astype(np.uint8)
    unit = size / 112
    if view.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), view.blur * unit)
    if view.noise > 0:
        image = with_noise(image, view.noise, rng)
    cut = round(view.crop * size)
    if cut:
        rows = {"top": slice(0, cut), "bottom": slice(size - cut, size)}
        columns = {"left": slice(0, cut), "right": slice(size - cut, size)}
        image[rows.get(view.crop_side, slice(None)), columns.get(view.crop_side, slice(None))] = 0
    return image


def _normals(head: Head) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the unit normals of the head at every pixel: ellipsoid and relief."""
    size, unit, (a, b) = head.size, head.length(1), head.frame
    grid = np.arange(size, dtype=np.float32)
    cos, sin = np.float32(a.real / unit), np.float32(a.imag / unit)
    x = (grid - np.float32(b.real)) * np.float32(1 / unit)
    y = (grid - np.float32(b.imag)) * np.float32(1 / unit)
    u = (x[None, :] * cos + y[:, None] * sin) * np.float32(1 / (1.12 * head.identity.face_width))
    v = (y[:, None] * cos - x[None, :] * sin - 2) * np.float32(1 / 76)
    relief = _relief(head)
    slope = np.float32(unit / (2 * RELIEF_UNIT))  # rise over run, both in template pixels
    dx, dy = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    dx[:, 1:-1] = (relief[:, 2:] - relief[:, :-2]) * slope
    dy[1:-1] = (relief[2:] - relief[:-2]) * slope
    nz = np.sqrt(np.maximum(1 - u * u - v * v, np.float32(0.04)))
    nx = u * cos - v * sin - dx
    ny = u * sin + v * cos - dy
    scale = 1 / np.sqrt(nx * nx + ny * ny + nz * nz)
    return nx * scale, ny * scale, nz * scale


def _relief(head: Head) -> NDArray[np.float32]:
    """Return heights above the ellipsoid [size,size] in 1/RELIEF_UNIT of a template pixel."""
    face, size = head.identity, head.size
    relief = np.full((size, size), RELIEF_BASE, np.uint16)

    def raised(points: Points, height: float) -> None:
        corners = np.rint(head.place(points) * 16).astype(np.int32)
        value = RELIEF_BASE + round(height * RELIEF_UNIT)
        cv2.fillPoly(relief, [corners], value, cv2.LINE_8, 4)

    corner_x, corner_y = head.mouth_corner()
    raised(CIRCLE * (0.62 * face.face_width, 7) + (0, face.brow_y), 1.6)
    for side in (-1, 1):
        raised(CIRCLE * (11, 8) + (side * 21, 19), 1.6 + 0.4 * face.cheek)
        raised(CIRCLE * (face.eye_width * 1.15, 6.5) + (side * face.eye_x, 0.5), -2.2)
    raised(CIRCLE * (9, 7) + (0, face.chin_y - 8), 2.0)
    relief[:] = blurred(relief, head.length(3.2))
    raised(CIRCLE * (corner_x, 5.5) + (0, corner_y), 1.6)
    wide, depth, y = face.nose_width, face.nose_depth, face.nose_y
    ridge = [(face.nose_bridge, -8), (face.nose_bridge, 2), (0.62 * wide, y - 7), (wide, y - 1)]
    ridge += [(0.7 * wide, y + 3.5), (-0.7 * wide, y + 3.5)]
    ridge += [(-px, py) for px, py in ridge[3::-1]]
    raised(np.array(ridge), 0.32 * depth)
    tip = head.surface(CIRCLE * (0.5 * wide, 0.5 * wide) + (0, y), lift=depth)
    raised(curve(tip, closed=True, steps=2), 0.52 * depth)
    return blurred(relief, head.length(1.7)).astype(np.float32)
