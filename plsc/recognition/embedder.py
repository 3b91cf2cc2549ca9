"""`Embedder`: a trained model of any origin, as a function of images."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.inference.image_reader import ImageReader, Pixels, checked_pixels, name_of
from plsc.inference.model_info import ColourOrder, InputOptions, model_info
from plsc.inference.network import Floats
from plsc.inference.open_network import open_network
from plsc.inference.paddle_network import start_plugins

Image = str | os.PathLike[str] | NDArray[np.uint8]


class Embedder:
    """Images -> embeddings, prepared as the model was trained.

    Attributes:
        info: what is known of the model; `info.notes` says what was assumed.
        digest: hex text that changes with the weights and with how images are prepared, for caches.
        batch_size: images that the network is given at once.

    """

    def __init__(
        self,
        model: str | Path,
        *,
        provider: str = "cpu",
        batch_size: int = 64,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        colour_order: ColourOrder | None = None,
        size: int | tuple[int, int] | None = None,
        plugins: Sequence[str] = (),
        output_name: str | None = None,
    ):
        """Open a model. What it says of itself need not be given; options come before that.

        Args:
            model: an `.onnx` file of anyone's, a checkpoint folder, a Paddle inference model
                (`<stem>.json` and `<stem>.pdiparams`: either, or the stem), or a `.pth` of an
                IResNet as MagFace and arcface_torch write it.
            provider: "cpu", "cuda", or ONNX Runtime's name of an execution provider.
            batch_size: images that the network is given at once; a network with a fixed batch size
                is given that many.
            mean: one number or one per colour in the model's order, in pixels from 0 to 255.
            std: likewise; the network is given (pixel - mean) / std.
            colour_order: "RGB" or "BGR", of the images that the network is given.
            size: side, or width and height, in pixels, where the network takes any.
            plugins: modules to import that register parts of plsc: those that a checkpoint's
                backbone needs. What the checkpoint itself names is not imported.
            output_name: of an ONNX file's output, where several could be the embedding.

        Raises:
            UserError: nothing usable is there, something it needs is not installed, or options are
                wrong or contradict the model.

        """
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        if plugins:
            start_plugins(plugins, "plugins")
        self._network = open_network(str(model), provider, output=output_name)
        options = InputOptions(mean=mean, std=std, colour_order=colour_order, size=size)
        self.info = info = model_info(self._network, options)
        self.batch_size = info.batch or batch_size
        prepared = f"{info.size} {info.colour_order} {info.mean} {info.std}"
        chosen = f" {output_name}" if output_name else ""
        text = f"{self._network.digest} {prepared}{chosen}"
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        grey = np.full((1, info.size[1], info.size[0], 3), 127, np.uint8)
        # Only a run shows that a network takes such images, and what it makes of them.
        self.info = replace(info, dim=self._run(grey, info.colour_order).shape[1])

    def embed(
        self,
        images: NDArray[np.uint8],
        *,
        colour_order: ColourOrder = "RGB",
        flip: bool = False,
        where: Callable[[int], str] = "image {}".format,
    ) -> Floats:
        """Return embeddings float32 [n, d], as the model gives them: not normalised.

        Args:
            images: uint8 [n, height, width, 3], of the model's size.
            colour_order: of `images`.
            flip: of the mirrored images.
            where: names image i in messages.

        Raises:
            UserError: images of another kind, or an embedding holds NaN or infinity.

        """
        width, height = self.info.size
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, 3):
            raise UserError(
                f"{self.info.path}: takes images uint8 [n, {height}, {width}, 3], got "
                f"{images.dtype} {list(images.shape)}"
            )
        _check_order(colour_order)
        embeddings = np.empty((len(images), self.info.dim), np.float32)
        for start in range(0, len(images), self.batch_size):
            chunk = images[start : start + self.batch_size]
            rows = self._run(chunk[:, :, ::-1] if flip else chunk, colour_order)
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                raise UserError(
                    f"{self.info.path}: gives NaN or infinity for {where(start + int(bad[0]))}: "
                    "its weights are damaged, or mean and std are not its own"
                )
            embeddings[start : start + len(chunk)] = rows
        return embeddings

    def embed_views(
        self, images: NDArray[np.uint8], *, flip: bool, where: Callable[[int], str]
    ) -> Floats:
        """Return embeddings [n, views, d] of RGB images, with `flip` of the mirrored ones, too."""
        views = (False, True) if flip else (False,)
        return np.stack([self.embed(images, flip=view, where=where) for view in views], axis=1)

    def embed_files(
        self,
        images: Iterable[Image],
        *,
        colour_order: ColourOrder = "RGB",
        flip: bool = False,
        resize: bool = False,
    ) -> Floats:
        """Return embeddings float32 [n, d] of image files, not normalised; reads some at a time.

        Args:
            images: paths, or arrays uint8 [height, width, 3], or both.
            colour_order: of the arrays.
            flip: of the mirrored images.
            resize: bring images to the model's size; else those of another are refused.

        Raises:
            UserError: an image cannot be read or has another size; as `embed`.

        """
        _check_order(colour_order)
        if isinstance(images, str | os.PathLike):
            raise UserError(f"embed_files takes a list of paths, got the one path {images!r}")
        reader, stream = ImageReader(self.info.size, resize), enumerate(images)
        parts = [np.empty((0, self.info.dim), np.float32)]
        while chunk := list(itertools.islice(stream, self.batch_size)):
            names = [name_of(image, number) for number, image in chunk]
            pixels = [
                _rgb(image, name, reader, colour_order)
                for name, (_, image) in zip(names, chunk, strict=True)
            ]
            parts.append(self.embed(np.stack(pixels), flip=flip, where=names.__getitem__))
        return np.concatenate(parts)

    def _run(self, images: Pixels, colour_order: str) -> Floats:
        """Return the network's output for at most a batch of images uint8 [n, h, w, 3]."""
        spec, count = self._network.input, len(images)
        if colour_order != self.info.colour_order:
            images = images[..., ::-1]
        if spec.layout == "NCHW":
            images = images.transpose(0, 3, 1, 2)
        shape = (self.info.batch or count, *images.shape[1:])
        prepared = np.zeros(shape, np.uint8 if spec.dtype == np.uint8 else np.float32)
        prepared[:count] = images
        if spec.dtype != np.uint8:
            prepared[:count] -= self._per_colour(self.info.mean)
            prepared[:count] /= self._per_colour(self.info.std)
        return self._network.run(prepared.astype(spec.dtype, copy=False))[:count]

    def _per_colour(self, values: tuple[float, float, float]) -> Any:
        if len(set(values)) == 1:
            return np.float32(values[0])
        shape = (3, 1, 1) if self._network.input.layout == "NCHW" else (3,)
        return np.array(values, np.float32).reshape(shape)


def _rgb(image: Image, where: str, reader: ImageReader, colour_order: str) -> Pixels:
    if isinstance(image, str | os.PathLike):
        return reader.read(image)
    pixels = reader.fit(checked_pixels(image, where), where)
    return pixels if colour_order == "RGB" else pixels[..., ::-1]


def _check_order(colour_order: Literal["RGB", "BGR"]) -> None:
    if colour_order not in ("RGB", "BGR"):
        raise UserError(f"colour_order must be RGB or BGR, got {colour_order!r}")
