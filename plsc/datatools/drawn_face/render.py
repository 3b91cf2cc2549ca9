"""Rendered identities: faces drawn from numbers, with their boxes and landmarks.

They stand in for photographs where none may be had: who a face is lies in its geometry and
colours, while pose, light, colour cast, expression, blur and noise change from image to image.
The same arguments give the same bytes on every machine with the same OpenCV.
"""

import numpy as np
from numpy.typing import NDArray

from plsc.datatools.drawn_face.canvas import Canvas
from plsc.datatools.drawn_face.head import Head, curve
from plsc.datatools.drawn_face.light import light, photograph
from plsc.datatools.drawn_face.paint import paint_head
from plsc.datatools.drawn_face.parameters import Identity, View
from plsc.datatools.drawn_face.scene import cover, paint_background

__all__ = ["RENDERER_VERSION", "Identity", "View", "render_face"]

RENDERER_VERSION = 1  # to be raised by every change of the pictures


def render_face(
    identity: Identity, view: View, *, size: int = 112
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Draw one picture of a face, aligned as crops for recognition are.

    Returns:
        image: uint8 RGB [size, size, 3].
        landmarks: float32 [5, 2], x and y in pixels of the eyes, the tip of the nose and the
            corners of the mouth, the image's left before its right.
        box: float32 [4], x1, y1, x2, y2 of the face from hairline to chin and from cheek to
            cheek; it may reach over the image's edge.

    """
    rng = np.random.default_rng(view.seed)
    head = Head(identity, view, size)
    canvas = Canvas(size)
    paint_background(canvas, rng)
    paint_head(canvas, head, rng)
    lit = light(canvas, head)
    cover(lit, head, rng)
    image = photograph(lit, head, rng)
    contour = curve(head.place_outline(head.outline()), closed=True)
    hairline = head.place([(0, identity.hairline_y)])[0, 1]
    top = max(float(hairline), float(contour[:, 1].min()))
    box = np.array([contour[:, 0].min(), top, contour[:, 0].max(), contour[:, 1].max()])
    return image, head.landmarks.astype(np.float32), box.astype(np.float32)
