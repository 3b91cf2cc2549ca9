"""Parameters of a drawn face: `Identity` stays, `View` changes from image to image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]  # RGB, 0..255

SKIN = [(250, 218, 198), (234, 190, 160), (205, 152, 118), (158, 106, 76), (98, 64, 46)]
HAIR = [(28, 24, 24), (58, 40, 30), (98, 66, 42), (150, 78, 40), (198, 160, 98), (150, 148, 146)]
IRIS = [(74, 46, 28), (110, 76, 40), (92, 118, 74), (92, 128, 160), (128, 138, 142)]
LONG_HAIR = ("long", "bob", "bun")
SHORT_HAIR = ("bald", "buzz", "parted_left", "parted_right", "fringe", "afro", "receding")
HAIR_STYLES = (*SHORT_HAIR, *LONG_HAIR)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square", "wide")

_IDENTITY_STREAM, _VIEW_STREAM = 0, 1


@dataclass(frozen=True)
class Identity:
    """One person: geometry, colours and marks.

    Lengths are in pixels of the 112x112 template, where the eyes of the mean face are 35 apart;
    y is measured downwards from the line of the eyes. `Identity()` is the mean face.
    """

    face_width: float = 38.5  # half of it, at the cheekbones
    jaw_width: float = 0.80  # shares of face_width
    chin_width: float = 0.36
    chin_y: float = 60.0
    cheek: float = 0.0  # fullness below the cheekbones
    hairline_y: float = -36.0
    eye_x: float = 17.6
    eye_width: float = 8.6  # half of it
    eye_height: float = 0.40  # share of eye_width
    eye_tilt: float = 0.0  # pixels by which the outer corner is higher
    eye_fold: float = 0.5  # strength of the lid's crease
    iris_size: float = 0.44  # share of eye_width
    brow_y: float = -11.5
    brow_thickness: float = 2.6
    brow_arch: float = 2.5
    brow_tilt: float = 0.0
    brow_length: float = 11.0
    nose_y: float = 20.0
    nose_width: float = 7.5  # half of it
    nose_bridge: float = 3.2
    nose_depth: float = 13.0
    mouth_y: float = 40.5
    mouth_width: float = 14.6  # half of it
    upper_lip: float = 3.0
    lower_lip: float = 4.2
    ear_size: float = 1.0
    skin: Colour = SKIN[1]
    lips: Colour = (186, 96, 92)
    iris: Colour = IRIS[1]
    hair: Colour = HAIR[1]
    hair_style: str = "parted_left"
    hair_volume: float = 1.0
    hair_length: float = 50.0  # y at which long hair ends
    beard: str = "none"
    glasses: str = "none"
    glasses_colour: Colour = (40, 36, 40)
    age: float = 0.2  # depth of lines, 0..1
    blush: float = 0.2
    freckles: int = 0
    moles: tuple[tuple[float, float, float], ...] = ()  # x, y, radius

    @classmethod
    def sample(cls, seed: int, number: int) -> "Identity":
        """Draw the person called `number` in the world called `seed`; equal on every machine."""
        rng = np.random.default_rng([seed, _IDENTITY_STREAM, number])

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * np.clip(rng.standard_normal(), -2.2, 2.2))

        def colour(palette: list[Colour], jitter: float) -> Colour:
            return _between(
                palette,
                rng.random() * (len(palette) - 1),
                rng.normal(0, jitter, 3) + rng.normal(0, 2 * jitter),
            )

        skin = colour(SKIN, 3)
        redness = rng.uniform(0.15, 0.75)
        lips = _between([skin, (176, 62, 70)], redness)
        style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
        bearded = style in SHORT_HAIR and rng.random() < 0.55
        moles = tuple(
            (rng.uniform(-26, 26), rng.uniform(-26, 50), rng.uniform(0.7, 1.7))
            for _ in range(int(rng.integers(0, 4)))
        )
        return cls(
            face_width=around(38.5, 1.7),
            jaw_width=around(0.80, 0.065),
            chin_width=around(0.36, 0.07),
            chin_y=around(60.5, 3.0),
            cheek=around(0.0, 1.0),
            hairline_y=around(-35.0, 4.0),
            eye_x=around(17.6, 1.1),
            eye_width=around(8.6, 0.85),
            eye_height=around(0.41, 0.075),
            eye_tilt=around(0.3, 1.1),
            eye_fold=rng.random(),
            iris_size=around(0.44, 0.035),
            brow_y=around(-11.8, 1.8),
            brow_thickness=around(2.7, 0.85),
            brow_arch=around(2.4, 1.3),
            brow_tilt=around(0.2, 1.3),
            brow_length=around(11.0, 1.2),
            nose_y=around(20.3, 2.2),
            nose_width=around(7.4, 1.2),
            nose_bridge=around(3.2, 0.6),
            nose_depth=around(13.0, 2.2),
            mouth_y=around(40.6, 1.8),
            mouth_width=around(14.4, 1.7),
            upper_lip=around(3.0, 0.9),
            lower_lip=around(4.2, 1.0),
            ear_size=around(1.0, 0.16),
            skin=skin,
            lips=lips,
            iris=colour(IRIS, 4),
            hair=colour(HAIR, 2.5),
            hair_style=style,
            hair_volume=around(1.0, 0.25),
            hair_length=rng.uniform(30, 95),
            beard=BEARDS[int(rng.integers(1, len(BEARDS)))] if bearded else "none",
            glasses=GLASSES[int(rng.integers(1, len(GLASSES)))] if rng.random() < 0.2 else "none",
            glasses_colour=_between(
                [(30, 28, 30), (110, 70, 40), (170, 150, 120)], rng.random() * 2
            ),
            age=float(rng.random()),
            blush=float(rng.random()),
            freckles=int(rng.integers(12, 40)) if rng.random() < 0.2 else 0,
            moles=moles,
        )


@dataclass(frozen=True)
class View:
    """One picture of a person. `View()` is frontal, evenly lit and undegraded.

    `dataclasses.replace(view, blur=3.0)` makes a picture of known severity; lengths are in pixels
    of a 112x112 image whatever the size that is rendered.
    """

    yaw: float = 0.0  # degrees; positive turns the face to the image's right
    pitch: float = 0.0  # degrees; positive raises the chin
    roll: float = 0.0  # degrees left over after alignment; positive is clockwise
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    light_azimuth: float = 0.0  # degrees; positive: from the image's right
    light_elevation: float = 25.0
    light_strength: float = 0.3  # 0 ambient light only, 1 one lamp only
    exposure: float = 1.0  # factor on the light; 0.2 is a dark image
    warmth: float = 0.0  # red against blue gain of the white balance
    tint: float = 0.0  # green gain
    smile: float = 0.0  # -1..1
    mouth_open: float = 0.0  # 0..1
    brow_raise: float = 0.0  # -1..1
    eye_open: float = 1.0  # 0 closed .. 1.2
    gaze_x: float = 0.0  # -1..1
    gaze_y: float = 0.0
    glasses_on: bool = True  # whether an identity with glasses wears them
    occlusion: float = 0.0  # share of the image's side that something covers
    crop: float = 0.0  # share of the image's side that lay outside the source picture (black)
    crop_side: Literal["left", "right", "top", "bottom"] = "bottom"
    blur: float = 0.0  # sigma, pixels
    noise: float = 0.0  # sigma, grey levels
    jpeg_quality: int = 95  # for whoever writes the file; the renderer does not compress
    seed: int = 0  # of what has no field: background, clothes, the occluding thing, the noise

    @classmethod
    def sample(cls, seed: int, number: int, image: int) -> "View":
        """Draw the view of image `image` of person `number`; the same on every machine."""
        rng = np.random.default_rng([seed, _VIEW_STREAM, number, image])

        def within(limit: float) -> float:
            return float(np.clip(rng.normal(0, limit / 2), -limit, limit))

        sides: tuple[Literal["left", "right", "top", "bottom"], ...]
        sides = ("left", "right", "top", "bottom")
        return cls(
            yaw=within(32),
            pitch=within(18),
            roll=within(8),
            scale=float(rng.uniform(0.92, 1.06)),
            shift_x=within(3.5),
            shift_y=within(3.5),
            light_azimuth=float(rng.uniform(-75, 75)),
            light_elevation=float(rng.uniform(-25, 60)),
            light_strength=float(rng.uniform(0.1, 0.65)),
            exposure=round(float(np.exp(rng.uniform(-0.55, 0.25))), 6),
            warmth=within(0.26),
            tint=within(0.10),
            smile=float(rng.uniform(-0.5, 1.0)),
            mouth_open=float(max(0.0, rng.uniform(-1.0, 0.8))),
            brow_raise=float(rng.uniform(-0.6, 0.6)),
            eye_open=0.1 if rng.random() < 0.04 else float(rng.uniform(0.6, 1.12)),
            gaze_x=within(0.9),
            gaze_y=within(0.5),
            glasses_on=bool(rng.random() < 0.85),
            occlusion=float(rng.uniform(0.1, 0.25)) if rng.random() < 0.06 else 0.0,
            crop=float(rng.uniform(0.03, 0.15)) if rng.random() < 0.06 else 0.0,
            crop_side=sides[int(rng.integers(4))],
            blur=float(max(0.0, rng.uniform(-0.6, 1.2))),
            noise=float(max(0.0, rng.uniform(-3.0, 9.0))),
            jpeg_quality=int(rng.integers(60, 97)),
            seed=int(rng.integers(1 << 31)),
        )


def _between(palette: list[Colour], position: float, jitter: np.ndarray | float = 0.0) -> Colour:
    """Return the colour at `position` of a palette whose entries stand at 0, 1, 2 ..."""
    index = min(int(position), len(palette) - 2)
    low, high = np.array(palette[index], float), np.array(palette[index + 1], float)
    mixed = low + (high - low) * (position - index) + jitter
    red, green, blue = (int(value) for value in np.clip(np.rint(mixed), 8, 255))
    return red, green, blue
