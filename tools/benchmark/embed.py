"""Images/s of embedding: ONNX Runtime by itself, Embedder, evaluation in training, and Paddle.

    python tools/benchmark/embed.py --backbone IResNet18 --images 128

Prints one JSON line. The four take turns and the medians of the rounds count; machines are noisy,
so read the ratios. Weights are random, images are in memory: what is measured is what comes on top
of the network, not how images are read. `export_seconds` is what an evaluation waits first before
it runs a backbone by ONNX Runtime; `pays_from_images` are the images by which it has that back.
Where the project's own kernels are faster, the evaluator runs Paddle, and `evaluator_runs` says so.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIDE, NUM_FOLDS = 112, 2
FEWEST_IMAGES = 4 * NUM_FOLDS  # a pair of each kind in each fold


class Pairs:
    """Images in memory, every second pair of one person."""

    def __init__(self, pixels: np.ndarray):
        from plsc.data.transforms.normalisation import Normalisation

        self.pixels, half = pixels, np.full(3, 0.5, np.float32)
        self.fields = {"images": (pixels.shape[1:], pixels.dtype)}
        self.issame = np.arange(len(pixels) // 2) % 2 == 0
        self.normalise = Normalisation(np.float32(1 / 255), half, half, colours_last=True)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.pixels)

    def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return an image uint8 [h, w, 3]."""
        return {"images": self.pixels[index]}


def median_speeds(
    ways: dict[str, Callable[[], Any]], num_images: int, rounds: int
) -> dict[str, float]:
    """Images per second of each way, which all go once before they are measured."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: num_images / statistics.median(times) for name, times in seconds.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    import paddle

    from plsc.config.registry import BACKBONES
    from plsc.engine.evaluation import network_function
    from plsc.engine.onnx_runtime import FEWEST_SAMPLES, onnx_function
    from plsc.engine.precision import Precision
    from plsc.export.convert import export_onnx
    from plsc.files import onnx_file
    from plsc.nn import environment as runtime
    from plsc.recognition.embedder import Embedder
    from plsc.recognition.evaluator import evaluators_of
    from plsc.recognition.export_spec import embedding_spec
    from plsc.recognition.metrics.registered import LFWAcc

    paddle.seed(0)
    backbone = BACKBONES.get(options.backbone, "--backbone")()
    backbone.eval()
    began = time.perf_counter()
    spec = embedding_spec(backbone.num_features)
    by_session = onnx_function(backbone, spec, num_samples=FEWEST_SAMPLES)
    export_seconds = time.perf_counter() - began
    with network_function(backbone, Precision(), spec, num_samples=0) as by_paddle:
        pass  # the backbone stays in evaluation mode, in which it was
    evaluated = (lambda images: by_session({"data": images})) if by_session else by_paddle
    random = np.random.default_rng(0)
    pairs = Pairs(random.integers(0, 256, (options.images, SIDE, SIDE, 3), np.uint8))
    prepared = pairs.normalise(pairs.pixels)
    parts = np.split(prepared, range(options.batch, len(prepared), options.batch))
    metric = LFWAcc(flip_test=False, nrof_folds=NUM_FOLDS)
    (evaluator,) = evaluators_of(pairs, [metric], name="", batch_size=options.batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(backbone, path, spec)
        session = onnx_file.run(path, threads=runtime.threads(local_size=1))
        embedder = Embedder(path, batch_size=options.batch)
    ways = {
        "onnxruntime": lambda: [session({"data": part}) for part in parts],
        "embedder": lambda: embedder.embed(pairs.pixels),
        "evaluator": lambda: evaluator.report(evaluated),
        "paddle": lambda: [by_paddle(part) for part in parts],
    }
    speeds = median_speeds(ways, options.images, options.rounds)
    gained = 1 / speeds["paddle"] - 1 / speeds["evaluator"]
    return {
        "backbone": options.backbone,
        "images": options.images,
        "batch": options.batch,
        "threads": runtime.threads(local_size=1),
        "images_per_second": {name: round(speed, 2) for name, speed in speeds.items()},
        "embedder_to_onnxruntime": round(speeds["embedder"] / speeds["onnxruntime"], 3),
        "evaluator_to_onnxruntime": round(speeds["evaluator"] / speeds["onnxruntime"], 3),
        "evaluator_to_paddle": round(speeds["evaluator"] / speeds["paddle"], 3),
        "evaluator_runs": "onnxruntime" if by_session else "paddle",
        "export_seconds": round(export_seconds, 2),
        "pays_from_images": round(export_seconds / gained) if by_session and gained > 0 else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="IResNet18")
    parser.add_argument("--images", type=int, default=128, help="images of a round")
    parser.add_argument("--batch", type=int, default=64, help="images at once")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after one to warm up")
    options = parser.parse_args()
    if options.images < FEWEST_IMAGES or options.images % 2:
        parser.error(f"--images must be even and at least {FEWEST_IMAGES}")
    if options.batch < 1 or options.rounds < 1:
        parser.error("--batch and --rounds must be at least 1")
    from plsc.nn import environment as runtime

    runtime.prepare(local_size=1)
    runtime.import_paddle()
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
