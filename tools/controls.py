"""Put an accuracy in proportion: the same pairs by raw pixels and by the untrained network.

    python tools/controls.py -c CONFIG.yaml [-o Key.sub=value]...

Prints one JSON object: control -> metric of Metric.Eval (LFW-style accuracy with flip).
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plsc.config.load import load_config
from plsc.nn import environment as runtime

CALIBRATION_BATCH = 64


def controls(config_path: str, overrides: list[str]) -> dict[str, float]:
    """Metric of each control on DataLoader.Eval."""
    config = load_config(config_path, overrides)
    runtime.prepare(local_size=1)
    runtime.import_paddle()
    import numpy as np
    import paddle

    from plsc.data.loader.generators import ImageGenerators
    from plsc.engine import build
    from plsc.recognition.pixel_input import OUTPUT

    build.set_device("cpu")
    (evaluator, *_) = build.task_type(config).evaluators(config)
    backbone = build.build_network(config)
    # Running statistics of real images: with the initial ones a deep untrained network overflows,
    # which would make it too easy a control.
    dataset, generator = evaluator.dataset, ImageGenerators()
    calibration = range(min(CALIBRATION_BATCH, len(dataset)))
    pixels = np.stack([dataset.get(index, generator(index))["images"] for index in calibration])
    backbone.train()
    for _ in range(20):
        with paddle.no_grad():
            backbone(dataset.normalise(paddle.to_tensor(pixels)))
    backbone.eval()

    def untrained(images: np.ndarray) -> dict[str, np.ndarray]:
        with paddle.no_grad():
            return {OUTPUT: backbone(paddle.to_tensor(images)).numpy()}

    networks = {
        "raw_pixels": lambda images: {OUTPUT: images.reshape(len(images), -1)},
        "untrained_network": untrained,
    }
    return {
        name: evaluator.scalars(evaluator.report(network))["metric"]
        for name, network in networks.items()
    }


def main() -> None:
    """Print the controls as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("-o", "--override", action="append", default=[])
    options = parser.parse_args()
    print(json.dumps(controls(options.config, options.override)))


if __name__ == "__main__":
    main()
