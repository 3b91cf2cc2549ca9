"""Random changes of a decoded face, to be named in `transform_ops` before ToCHWImage.

Each takes images uint8 RGB [h, w, 3] and gives the same shape; its input stays as it is, and all
it draws comes from the image's own generator. None acts unless it is named. The first four and
their defaults are the strong augmentation (`dali_aug`) of InsightFace's arcface_torch.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import cv2
import numpy as np

from plsc.config.registry import TRANSFORMS
from plsc.config.schema import Range
from plsc.data.transforms.sample import IMAGE, Sample, refuse_places
from plsc.errors import UserError

Probability = Annotated[float, Range(0, 1)]
Share = Annotated[tuple[float, float], Range(0, 1, low_open=True)]

# Rows Y, I, Q of the NTSC: brightness, and two axes of colour on which grey is 0.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)
ERASING_TRIES = 10


class RandomChange(ABC):
    """A change that falls on each image with a probability; a subclass says which.

    Attributes:
        moves_pixels: boxes and points would have to move with the image, and do not.

    """

    moves_pixels = False

    def __init__(self, probability: float):
        self._probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Change the image uint8 [h, w, 3], or return `sample` as it was.

        Raises:
            UserError: it is something else: the transform stands in the wrong place of the list; or
                it has boxes or points that would not move with it.

        """
        image = sample[IMAGE]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"{type(self).__name__} takes uint8 images of shape [h, w, 3], got {image.dtype} "
                f"{list(image.shape)}: name it behind DecodeImage (with channel_first: False) and "
                "before NormalizeImage and ToCHWImage"
            )
        if self.moves_pixels:
            refuse_places(sample, type(self).__name__)
        if rng.random() >= self._probability:
            return sample
        return {**sample, IMAGE: self._change(image, rng)}

    @abstractmethod
    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed image, in memory of its own."""

    def _ordered(self, name: str, bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = bounds
        if low > high:
            where = f"{type(self).__name__}.{name}"
            raise UserError(f"{where} must be the lower bound and the upper one, got {[low, high]}")
        return low, high


@TRANSFORMS.register
class RandDownUpImage(RandomChange):
    """Fewer pixels: shrinks the image to a random share of its sides, then enlarges it again.

    Both sides shrink alike: `scale` is drawn evenly. Each pixel of the small image is the mean of
    the area it covers; enlarging is bilinear. arcface_torch draws sides of 56 to 89 out of 112.
    """

    def __init__(self, probability: Probability = 0.1, scale: Share = (0.5, 0.8)):
        super().__init__(probability)
        self._scale = self._ordered("scale", scale)

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        scale = rng.uniform(*self._scale)
        small = max(1, round(width * scale)), max(1, round(height * scale))
        shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


@TRANSFORMS.register
class RandBlurImage(RandomChange):
    """Out of focus: a Gaussian blur in a window of 2 · radius + 1 pixels, radius drawn evenly.

    Its standard deviation is 0.3 · (radius - 1) + 0.8 pixels: 0.8 and 1.1 for the radii 1 and 2 of
    arcface_torch. At the border the image is mirrored about its outermost pixels.
    """

    def __init__(
        self,
        probability: Probability = 0.2,
        radius: Annotated[tuple[int, int], Range(1, 15)] = (1, 2),
    ):
        super().__init__(probability)
        self._ordered("radius", radius)
        self._radius = radius

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        radius = int(rng.integers(*self._radius, endpoint=True))
        window = (2 * radius + 1, 2 * radius + 1)
        return cv2.GaussianBlur(image, window, sigmaX=0.3 * (radius - 1) + 0.8)


@TRANSFORMS.register
class RandHSVImage(RandomChange):
    """Other colours: turns the hue by an angle and multiplies the saturation, both drawn evenly.

    One linear map, as `fn.hsv` of NVIDIA DALI has it, which arcface_torch uses: the colour in YIQ
    keeps its brightness Y; the vector (I, Q) is turned by `hue` degrees, from red towards yellow,
    and stretched by `saturation`. Results beyond 0 and 255 are cut off there.
    """

    def __init__(
        self,
        probability: Probability = 0.2,
        hue: Annotated[tuple[float, float], Range(-180, 180)] = (0, 20),
        saturation: Annotated[tuple[float, float], Range(0, 10)] = (1, 1.2),
    ):
        super().__init__(probability)
        self._hue = self._ordered("hue", hue)
        self._saturation = self._ordered("saturation", saturation)

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle, stretch = np.deg2rad(rng.uniform(*self._hue)), rng.uniform(*self._saturation)
        cosine, sine = stretch * np.cos(angle), stretch * np.sin(angle)
        turn = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
        return cv2.transform(image, YIQ_TO_RGB @ turn @ RGB_TO_YIQ)


@TRANSFORMS.register
class RandGreyImage(RandomChange):
    """No colours: all three become 0.299 · red + 0.587 · green + 0.114 · blue."""

    def __init__(self, probability: Probability = 0.1):
        super().__init__(probability)

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.transform(image, np.tile(RGB_TO_YIQ[0], (3, 1)))


@TRANSFORMS.register
class RandErasingImage(RandomChange):
    """Something in front of the face: fills a random rectangle (arXiv:1708.04896).

    Its share of the image's area is drawn evenly from `area`, its height / width from `aspect` so
    that tall and wide are equally likely (the logarithm evenly), its place evenly. A rectangle that
    does not fit is drawn again, ten times at most; then the image stays. `fill: noise` gives every
    pixel a random colour, `grey` 127, about 0 after normalisation.
    """

    def __init__(
        self,
        probability: Probability = 0.5,
        area: Share = (0.02, 0.33),
        aspect: Annotated[tuple[float, float], Range(0.01, 100)] = (0.3, 3.3),
        fill: Literal["noise", "grey"] = "noise",
    ):
        super().__init__(probability)
        self._area = self._ordered("area", area)
        self._aspect = self._ordered("aspect", aspect)
        self._fill = fill

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = image.shape[:2]
        result = image.copy()
        for _ in range(ERASING_TRIES):
            area = rows * columns * rng.uniform(*self._area)
            aspect = np.exp(rng.uniform(*np.log(self._aspect)))
            height, width = (
                max(1, round((area * aspect) ** 0.5)),
                max(1, round((area / aspect) ** 0.5)),
            )
            if height > rows or width > columns:
                continue
            top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
            shape = (height, width, 3)
            inside = rng.integers(256, size=shape, dtype=np.uint8) if self._fill == "noise" else 127
            result[top : top + height, left : left + width] = inside
            break
        return result


@TRANSFORMS.register
class RandCropImage(RandomChange):
    """Imprecise alignment: cuts out a random part and enlarges it to the image's size.

    The part's share of the image's area is drawn evenly from `scale`, its place evenly. It keeps
    the image's proportions, because those of a face tell who it is; the default enlarges a face by
    up to 12 % and moves it by up to 6 of 112 pixels, about what an uncertain detector does.
    Enlarging is bilinear.
    """

    moves_pixels = True

    def __init__(self, probability: Probability = 0.2, scale: Share = (0.8, 1)):
        super().__init__(probability)
        self._scale = self._ordered("scale", scale)

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = image.shape[:2]
        side = rng.uniform(*self._scale) ** 0.5
        height, width = max(1, round(rows * side)), max(1, round(columns * side))
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        part = image[top : top + height, left : left + width]
        return cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR)
