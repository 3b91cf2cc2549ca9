"""Images/s of training on this CPU: stock Paddle, plsc, and the same network in PyTorch.

    python tools/benchmark/train.py --backbone IResNet18 --batch 16
    python tools/benchmark/train.py --backbone MobileFaceNet_base --batch 16 \
        --torch --torch-python ~/torch/bin/python

A step is forward, a margin softmax over a few classes, backward, clipping and SGD with momentum.
Each speed is measured in a process of its own; the processes take turns for some rounds, and what
is printed are medians, in one JSON line. Machines are noisy: read the ratios. "Stock" is Paddle
with its own threads, maths and kernels (PLSC_STOCK_CPU=1).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SET_BY_PLSC = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "KMP_BLOCKTIME")
TRIAL = """
import json, sys
from plsc.nn import environment as runtime
runtime.prepare(local_size=1)
from plsc.recognition.trial import run_trial
name, batch, classes, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
trial = run_trial(name, batch_size=batch, num_classes=classes, seconds=seconds)
print(json.dumps(vars(trial)))
"""


def measure(who: str, options: argparse.Namespace) -> float:
    """Images per second of `stock`, `plsc` or `torch`, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_PLSC}
    environment |= {"PLSC_STOCK_CPU": "1" if who == "stock" else "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRIAL]
    if who == "torch":
        command = [options.torch_python, str(HERE / "train_torch.py")]
    arguments = [options.backbone, options.batch, options.classes, options.seconds]
    done = subprocess.run(
        [*command, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"train.py: error: {who} failed, see above")
    return json.loads(done.stdout.splitlines()[-1])["images_per_second"]


def main() -> None:
    """Measure in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="IResNet18")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--classes", type=int, help="identities of the head; default: the batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--torch", action="store_true", help="measure PyTorch, too")
    parser.add_argument(
        "--torch-python", default=sys.executable, help="an interpreter that has torch"
    )
    options = parser.parse_args()
    options.classes = options.classes or options.batch
    names = ["stock", "plsc", *(["torch"] if options.torch else [])]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            speeds[name].append(round(measure(name, options), 3))
    median = {name: statistics.median(found) for name, found in speeds.items()}
    report = {"backbone": options.backbone, "batch": options.batch, "classes": options.classes}
    report |= {"images_per_second": median, "rounds": speeds}
    report |= {f"plsc_over_{n}": round(median["plsc"] / median[n], 2) for n in names if n != "plsc"}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
