"""Paint a head's colours, from back to front: hair, neck, ears, face, features, things worn."""

import numpy as np

from plsc.datatools.drawn_face.canvas import Canvas, mixed, shaded
from plsc.datatools.drawn_face.hair import paint_back_hair, paint_beard, paint_hair
from plsc.datatools.drawn_face.head import Head, Points, curve, mirrored
from plsc.datatools.drawn_face.parameters import Colour

ARC = np.linspace(0, 2 * np.pi, 17)[:-1]
CIRCLE = np.column_stack([np.cos(ARC), np.sin(ARC)])
LID = np.linspace(-1, 1, 11)
BLACK, WHITE = (20, 14, 14), (255, 255, 255)


def paint_head(canvas: Canvas, head: Head, rng: np.random.Generator) -> None:
    """Paint everything of the head and the shoulders."""
    paint_back_hair(canvas, head)
    _paint_neck(canvas, head, rng)
    _paint_ears(canvas, head)
    canvas.fill(
        curve(head.place_outline(head.outline()), closed=True), head.identity.skin, head=True
    )
    _paint_skin(canvas, head)
    paint_beard(canvas, head)
    _paint_nose(canvas, head)
    _paint_mouth(canvas, head)
    for side in (-1, 1):
        _paint_eye(canvas, head, side)
    paint_hair(canvas, head)
    for side in (-1, 1):
        _paint_brow(canvas, head, side)
    _paint_glasses(canvas, head)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    return CIRCLE * (rx, ry) + (x, y)


def _paint_neck(canvas: Canvas, head: Head, rng: np.random.Generator) -> None:
    face = head.identity
    width = face.face_width * 0.72
    neck = [(0, 30, -18), (width, 34, -18), (width, 70, -18), (1.3 * width, 84, -18), (0, 90, -18)]
    canvas.fill(head.place(mirrored(neck)), shaded(face.skin, 0.82), head=True)
    cloth = tuple(int(value) for value in rng.integers(20, 215, 3))
    collar = rng.uniform(74, 90)
    shirt = [(0, collar + 8, -10), (width, collar, -14), (2.6 * width, collar + 8, -24)]
    shirt += [(3.2 * width, 160, -24), (0, 160, -10)]
    canvas.fill(head.place(mirrored(shirt)), (cloth[0], cloth[1], cloth[2]))


def _paint_ears(canvas: Canvas, head: Head) -> None:
    face = head.identity
    for side in (-1, 1):
        centre = np.array([side * (face.face_width + 0.8), 9.0, -6.0])
        for grow, tone in ((1.0, 0.95), (0.55, 0.74)):
            ring = np.column_stack([CIRCLE * (5.2, 12.0), -4 * CIRCLE[:, 0] * side])
            shape = head.place_outline(centre + ring * face.ear_size * grow)
            canvas.fill(shape, shaded(face.skin, tone), head=True)


def _paint_skin(canvas: Canvas, head: Head) -> None:
    face = head.identity
    red = mixed(face.skin, (205, 70, 60), 0.5)
    for side in (-1, 1):
        cheek = head.place(_ellipse(side * 21, 21, 8.5, 7))
        canvas.tint(cheek, red, 0.55 * face.blush, soft=head.length(3.5))
        socket = head.place(_ellipse(side * face.eye_x, 1, face.eye_width * 1.3, 6))
        canvas.tint(socket, shaded(face.skin, 0.62), 0.25 + 0.25 * face.age, soft=head.length(2))
    lines = mixed(face.skin, (60, 20, 10), 0.45)
    corner_x, corner_y = head.mouth_corner()
    folds = max(0.0, 0.6 * face.age + 0.25 * head.view.smile - 0.15)
    for side in (-1, 1):
        fold = [(side * (face.nose_width + 1), face.nose_y - 3)]
        fold += [(side * (corner_x + 2.5), (face.nose_y + corner_y) / 2)]
        fold += [(side * (corner_x + 3.5), corner_y)]
        path = curve(fold)
        band = np.concatenate([path, path[::-1] + (side * 1.1, 0)])
        canvas.tint(head.place(band), lines, min(1.0, folds), soft=head.length(0.5))
    if face.age > 0.6:
        for row in range(2):
            y = face.brow_y - 8 - 6 * row
            band = curve([(-16, y + 1), (0, y), (16, y + 1), (0, y + 1.2)], closed=True)
            canvas.tint(head.place(band), lines, 0.9 * (face.age - 0.5), soft=head.length(0.4))
    # Drawn from the person's own number of freckles, so that they stay where they are.
    spots = np.random.default_rng([face.freckles, 7]).uniform(
        (-28, 2), (28, 24), (face.freckles, 2)
    )
    for spot in head.place(spots) if face.freckles else ():
        canvas.dot(spot, head.length(0.55), mixed(face.skin, (120, 60, 30), 0.55))
    for x, y, radius in face.moles:
        canvas.dot(
            head.place([(x, y)])[0], head.length(radius), mixed(face.skin, (50, 24, 18), 0.8)
        )


def _paint_nose(canvas: Canvas, head: Head) -> None:
    face = head.identity
    dark, y, wide = shaded(face.skin, 0.55), face.nose_y, face.nose_width
    base = head.surface(_ellipse(0, y + 3.2, wide * 0.95, 2.6), lift=face.nose_depth * 0.55)
    canvas.tint(head.place(base), dark, 0.45, soft=head.length(1.4))
    for side in (-1, 1):
        hole = head.surface(
            _ellipse(side * wide * 0.42, y + 2.6, wide * 0.25, 1.3), face.nose_depth * 0.7
        )
        canvas.tint(head.place(hole), (40, 16, 12), 0.8, soft=head.length(0.35))
        wing = [(side * wide * 0.86, y - 4), (side * wide * 1.04, y), (side * wide * 0.8, y + 3)]
        path = head.place(head.surface(curve(wing), lift=face.nose_depth * 0.4))
        canvas.lines([path], shaded(face.skin, 0.66), 0.7)
    # The far edge of the bridge shows against the cheek when the head turns.
    side, edge = (1 if head.view.yaw > 0 else -1), abs(head.view.yaw) / 45
    bridge = [
        (side * face.nose_bridge, -4),
        (side * face.nose_bridge, 8),
        (side * wide * 0.6, y - 5),
    ]
    path = curve(head.surface(bridge, lift=face.nose_depth * 0.5))
    band = np.concatenate([path, path[::-1] + (side * 1.6, 0, 0)])
    canvas.tint(head.place(band), dark, min(0.5, 0.6 * edge), soft=head.length(0.8))


def _paint_mouth(canvas: Canvas, head: Head) -> None:
    face, view = head.identity, head.view
    x, corner = head.mouth_corner()
    middle = face.mouth_y + 0.8 * view.smile
    gap = 7.5 * view.mouth_open
    top = middle - gap * 0.35
    bottom = middle + gap * 0.9
    bow = face.upper_lip
    upper = [
        (-x, corner),
        (-0.3 * x, top - bow),
        (0, top - 0.7 * bow),
        (0.3 * x, top - bow),
        (x, corner),
    ]
    lower = [(x, corner), (0.5 * x, bottom + 0.85 * face.lower_lip), (0, bottom + face.lower_lip)]
    lower += [(-0.5 * x, bottom + 0.85 * face.lower_lip), (-x, corner)]
    whole = np.concatenate([curve(upper), curve(lower)[1:-1]])
    canvas.tint(head.place(head.surface(whole, lift=2)), face.lips, 0.92, soft=head.length(0.35))
    shadow = _ellipse(0, bottom + face.lower_lip + 3, x * 0.55, 1.6)
    canvas.tint(head.place(shadow), shaded(face.skin, 0.6), 0.35, soft=head.length(1.2))
    dark = mixed(face.lips, (40, 8, 8), 0.65)
    seam_top = curve(
        [(-0.96 * x, corner), (-0.3 * x, top), (0, top + 0.6), (0.3 * x, top), (0.96 * x, corner)]
    )
    if gap < 0.8:
        canvas.lines([head.place(head.surface(seam_top, lift=2))], dark, 0.9)
        return
    seam_bottom = curve(
        [(0.96 * x, corner), (0.4 * x, bottom), (-0.4 * x, bottom), (-0.96 * x, corner)]
    )
    inside = np.concatenate([seam_top, seam_bottom[1:-1]])
    canvas.fill(head.place(head.surface(inside, lift=1)), (70, 18, 20))
    depth = min(3.4, 0.6 * gap) * (1 - (seam_top[:, :1] / x) ** 2) * (0, 1)
    teeth = np.concatenate([seam_top, seam_top[::-1] + depth[::-1]]) * (0.9, 1)
    canvas.fill(head.place(head.surface(teeth, lift=1)), (236, 230, 216))


def _paint_eye(canvas: Canvas, head: Head, side: int) -> None:
    face, view = head.identity, head.view
    half = face.eye_width
    opening = half * face.eye_height * max(0.06, view.eye_open - 0.12 * max(0.0, view.smile))
    tilt = -face.eye_tilt * LID  # LID runs from the inner corner to the outer one
    x = side * (face.eye_x + half * LID)
    bulge = (1 - LID * LID) * (1 - 0.15 * LID)
    upper = np.column_stack([x, tilt - 1.15 * opening * bulge])
    lower = np.column_stack([x, tilt + 0.75 * opening * bulge])
    shape = head.place(np.concatenate([upper, lower[-2:0:-1]]))

    inside = Canvas(canvas.size)
    inside.fill(shape, (236, 230, 226))
    radius = half * face.iris_size
    look = (side * face.eye_x + 2.6 * view.gaze_x, -0.6 + 1.4 * view.gaze_y)
    for share, colour in ((1.0, shaded(face.iris, 0.55)), (0.85, face.iris), (0.42, BLACK)):
        inside.fill(head.place(_ellipse(*look, radius * share, radius * share)), colour)
    glint = head.place([(look[0] - 0.3 * radius, look[1] - 0.4 * radius)])[0]
    inside.dot(glint, head.length(0.2 * radius), WHITE)
    canvas.paste(shape, inside)

    canvas.lines([head.place(upper)], mixed(face.hair, BLACK, 0.75), 1.1)
    canvas.lines([head.place(lower[2:-1])], shaded(face.skin, 0.66), 0.6)
    crease = np.column_stack([x, tilt - 1.15 * opening * bulge - 2.4])[1:-1]
    tone = mixed(face.skin, shaded(face.skin, 0.5), 0.25 + 0.6 * face.eye_fold)
    canvas.lines([head.place(crease)], tone, 0.6)


def _paint_brow(canvas: Canvas, head: Head, side: int) -> None:
    face = head.identity
    y = face.brow_y - 2.2 * head.view.brow_raise
    start, length = face.eye_x - 0.62 * face.brow_length, 1.62 * face.brow_length
    along = (LID + 1) / 2
    middle = (
        y - face.brow_arch * 4 * along * (1 - along) * (0.6 + 0.8 * along) - face.brow_tilt * LID
    )
    thick = 0.5 * face.brow_thickness * (1.15 - 0.9 * along * along)
    x = side * (start + length * along)
    upper = np.column_stack([x, middle - thick])
    lower = np.column_stack([x, middle + thick])
    shape = head.surface(np.concatenate([upper, lower[::-1]]), lift=2)
    colour: Colour = mixed(face.hair, (40, 26, 20), 0.45)
    canvas.tint(head.place(shape), colour, 0.9, soft=head.length(0.4))


def _paint_glasses(canvas: Canvas, head: Head) -> None:
    face = head.identity
    if face.glasses == "none" or not head.view.glasses_on:
        return
    height = {"round": 10.5, "square": 9.0, "wide": 7.5}[face.glasses]
    width = {"round": 11.0, "square": 13.0, "wide": 14.5}[face.glasses]
    ring = CIRCLE if face.glasses == "round" else np.sign(CIRCLE) * np.sqrt(np.sqrt(abs(CIRCLE)))
    for side in (-1, 1):
        centre = side * max(face.eye_x + 0.6, width + 1.6)
        rim = head.place(head.surface(ring * (width, height) + (centre, 1.5), lift=7))
        canvas.tint(rim, (200, 215, 225), 0.10)
        canvas.lines([rim], face.glasses_colour, 1.5, closed=True)
        temple = [(side * (abs(centre) + width), -1, 26), (side * (face.face_width + 1), 0, -4)]
        canvas.lines([head.place(temple)], face.glasses_colour, 1.5)
    inner = max(face.eye_x + 0.6, width + 1.6) - width
    nose = curve(head.surface([(-inner, 1), (0, -1), (inner, 1)], lift=8))
    canvas.lines([head.place(nose)], face.glasses_colour, 1.5)
