"""Images/s of training with and without the CPU settings that the commands apply, in one run.

    python tools/benchmark/cpu_speed.py --backbone IResNet18 --batch 16 --seconds 20

Prints one JSON line. Machines are noisy: read the ratio, not the two speeds.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRIAL = """
import json, sys
from plsc import runtime
runtime.prepare(local_size=1)
from plsc.engine.trial import run_trial
name, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
print(json.dumps(vars(run_trial(name, batch_size=batch, seconds=seconds))))
"""


def measure(options: argparse.Namespace, *, stock: bool) -> float:
    """Images per second in a process of its own."""
    environment = {**os.environ, "PLSC_STOCK_CPU": "1" if stock else "0", "PYTHONPATH": str(ROOT)}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"):
        environment.pop(name, None)
    arguments = [options.backbone, str(options.batch), str(options.seconds)]
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])["images_per_second"]


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="IResNet18")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for each of the two")
    options = parser.parse_args()
    stock, ours = measure(options, stock=True), measure(options, stock=False)
    print(
        json.dumps(
            {
                "backbone": options.backbone,
                "batch": options.batch,
                "stock_images_per_second": round(stock, 2),
                "images_per_second": round(ours, 2),
                "ratio": round(ours / stock, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
