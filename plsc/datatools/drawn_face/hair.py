"""Hair and beards: caps between a hairline, which turns with the face, and the skull's outline."""

import numpy as np

from plsc.datatools.drawn_face.canvas import Canvas, mixed, shaded
from plsc.datatools.drawn_face.head import Head, Points, curve, mirrored

# Right half of the hairline from the forehead's middle to the sideburn: (share of face_width,
# share of the way from the hairline at -1 to the eyes at 0); mirrored for symmetric styles.
HAIRLINES: dict[str, list[tuple[float, float]]] = {
    "buzz": [(0, -1.0), (0.45, -0.98), (0.78, -0.75), (0.90, -0.35), (0.97, 0.10)],
    "afro": [(0, -0.95), (0.45, -0.92), (0.76, -0.70), (0.88, -0.30), (0.96, 0.20)],
    "receding": [(0, -1.1), (0.30, -1.2), (0.62, -1.35), (0.84, -0.70), (0.97, 0.20)],
    "fringe": [(0, -0.42), (0.40, -0.46), (0.70, -0.40), (0.90, -0.15), (0.96, 0.30)],
    "bob": [(0, -0.50), (0.40, -0.50), (0.72, -0.45), (0.84, -0.05), (0.86, 0.70)],
    "long": [(0, -1.15), (0.35, -0.95), (0.68, -0.55), (0.84, 0.00), (0.88, 0.80)],
    "bun": [(0, -1.1), (0.42, -1.02), (0.74, -0.72), (0.90, -0.25), (0.98, 0.05)],
}
PARTED = [(-0.97, 0.25), (-0.90, -0.30), (-0.72, -0.80), (-0.50, -1.15), (-0.10, -0.85)]
PARTED += [(0.40, -0.68), (0.74, -0.62), (0.90, -0.28), (0.97, 0.25)]
VOLUME = {"buzz": 0.8, "afro": 15, "receding": 3, "fringe": 6, "bob": 6, "long": 5, "bun": 2}


def _hairline(head: Head) -> Points:
    """Return points [n,2] from the left sideburn over the forehead to the right one."""
    face = head.identity
    style = face.hair_style
    if style.startswith("parted"):
        shape = np.array(PARTED)
        if style == "parted_right":
            shape = shape[::-1] * (-1, 1)
    else:
        right = np.array(HAIRLINES[style])
        shape = np.concatenate([right[:0:-1] * (-1, 1), right])
    below = shape[:, 1] > 0
    y = np.where(below, shape[:, 1] * 30, shape[:, 1] * -face.hairline_y)
    return np.column_stack([shape[:, 0] * face.face_width, y])


def paint_back_hair(canvas: Canvas, head: Head) -> None:
    """Paint what hangs or stands behind the head."""
    face = head.identity
    dark = shaded(face.hair, 0.72)
    width = face.face_width + 3 + 5 * face.hair_volume
    if face.hair_style in ("long", "bob"):
        end = face.hair_length if face.hair_style == "long" else 38 + 0.15 * face.hair_length
        half: list[tuple[float, float, float]] = [
            (0, -66, -14),
            (0.8 * width, -52, -14),
            (1.06 * width, -8, -14),
            (1.1 * width, 26, -14),
        ]
        half += [(1.08 * width, end, -14), (0.6 * width, end + 7, -14), (0, end + 5, -14)]
        canvas.fill(curve(head.place_outline(mirrored(half)), closed=True), dark, head=True)
    if face.hair_style == "bun":
        angle = np.linspace(0, 2 * np.pi, 17)[:-1]
        ball = np.column_stack([13 * np.cos(angle), 11 * np.sin(angle) - 66, 0 * angle - 10])
        canvas.fill(head.place(ball), dark, head=True)


def paint_hair(canvas: Canvas, head: Head) -> None:
    """Paint the cap of hair and its strands."""
    face = head.identity
    if face.hair_style == "bald":
        return
    volume = VOLUME.get(face.hair_style, 6) * face.hair_volume
    line = head.place(head.surface(curve(_hairline(head)), lift=1.5))
    skull = _skull(head, volume)
    cap = np.concatenate([line, skull[::-1]])
    colour = face.hair if face.hair_style != "buzz" else mixed(face.hair, face.skin, 0.35)
    root = np.concatenate([line, line[::-1] + (0, -head.length(3))])
    canvas.tint(root, shaded(face.skin, 0.6), 0.5, soft=head.length(1.5))
    canvas.fill(cap, colour, head=True)
    steps = np.linspace(0, len(line) - 1, 44).round().astype(int)
    targets = np.linspace(0, len(skull) - 1, 44).round().astype(int)
    roots, ends = line[steps], skull[targets]
    strands = [
        np.array(strand) for strand in zip(roots, roots * 0.45 + ends * 0.55, ends, strict=True)
    ]
    contrast = 0.06 if face.hair_style == "buzz" else 0.18
    for first, tone in ((0, 1 - contrast), (1, 1 + contrast), (2, 1 - contrast / 2)):
        canvas.lines([curve(s) for s in strands[first::3]], shaded(colour, tone), 0.5)


def _skull(head: Head, volume: float) -> Points:
    """Return the cap's outer edge [n,2], from the left sideburn over the top to the right one."""
    face = head.identity
    low = 6.0 if face.hair_style not in ("long", "bob") else 26.0
    width = face.face_width + 0.55 * volume
    half = [(0, -62 - volume, -6), (0.62 * width, -55 - volume, -6), (0.96 * width, -32, -4)]
    half += [(1.02 * width, -8, -4), (face.face_width + 0.25 * volume, low, -4)]
    right = np.array(half, float)
    edge = curve(np.concatenate([right[:0:-1] * (-1, 1, 1), right]))
    if face.hair_style == "afro":
        wave = 1 + 0.045 * np.cos(np.arange(len(edge)) * 1.9)
        edge = edge * np.column_stack([wave, wave, np.ones_like(wave)])
    return head.place_outline(edge)


def paint_beard(canvas: Canvas, head: Head) -> None:
    """Paint beard and moustache."""
    face, kind = head.identity, head.identity.beard
    if kind == "none":
        return
    colour = mixed(face.hair, (60, 40, 30), 0.2)
    x, corner = head.mouth_corner()
    chin = face.chin_y + 5 * head.view.mouth_open
    lip = face.mouth_y - face.upper_lip - 1
    if kind in ("stubble", "full"):
        jaw = face.face_width * face.jaw_width
        right = [
            (face.face_width * 0.99, 10, 3),
            (face.face_width * 0.98, 26, 6),
            (jaw * 0.95, chin - 14, 12),
        ]
        right += [(face.chin_width * face.face_width, chin - 2, 24), (0, chin + 1.5, 26)]
        outer = curve(np.concatenate([right, [(-a, b, c) for a, b, c in right[-2::-1]]]))
        upper = [(-0.86, 12), (-0.80, 26), (-0.55, 33)]
        inner = [(a * face.face_width, b) for a, b in upper] + [(0, lip - 4)]
        inner += [(-a * face.face_width, b) for a, b in upper[::-1]]
        shape = np.concatenate([head.place_outline(outer), head.place(curve(inner))])
        canvas.tint(shape, colour, 0.34 if kind == "stubble" else 0.9, soft=head.length(1.6))
        return
    if kind == "goatee":
        ring = [
            (0, chin + 1),
            (0.62 * x, chin - 4),
            (x + 2, corner + 4),
            (x + 2, lip),
            (0, lip - 4),
        ]
        canvas.tint(
            head.place(curve(mirrored(ring[::-1]), closed=True)), colour, 0.85, soft=head.length(1)
        )
        return
    half = [
        (0, lip - 4),
        (0.7 * x, lip - 2.5),
        (x + 2.5, corner + 1.5),
        (0.6 * x, lip + 1.5),
        (0, lip + 1),
    ]
    shape = head.surface(curve(mirrored(half), closed=True), lift=3)
    canvas.tint(head.place(shape), colour, 0.9, soft=head.length(0.7))
