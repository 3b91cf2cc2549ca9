"""Kernel launches and host waits of a training step, counted by phase on a CPU.

    python tools/benchmark/launches.py --backbone IResNet50 --optimizer Momentum
    python tools/benchmark/launches.py                       # every backbone, both optimizers
    python tools/benchmark/launches.py --backbone IResNet18 --ranks 2 --parts 2 --loss MagFace

The step is the whole body of the training loop. It runs with Paddle's own operators, as a GPU runs
it, on random images; the numbers do not depend on the machine. A JSON line for each case says how
many launches and waits each phase has; what belongs to no phase is "loop". "update_limit" is 1.5
launches for each parameter tensor and 60.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from worlds import launch

from plsc.config.registry import BACKBONES, OPTIMIZERS
from plsc.errors import UserError

RANK = Path(__file__).with_name("launches_rank.py")


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", nargs="+", help="names; every registered one by default")
    parser.add_argument("--optimizer", nargs="+", help="Momentum and AdamW by default")
    parser.add_argument("--loss", default="MarginLoss", help="name in Loss.Train")
    parser.add_argument("--batch", type=int, default=4, help="images of a rank and step")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches: Global.accum_steps")
    parser.add_argument("--classes", type=int, default=100_000, help="identities; a tenth is used")
    parser.add_argument("--ranks", type=int, default=1, help="processes, which talk over gloo")
    options = parser.parse_args()
    backbones = options.backbone or sorted(BACKBONES.names())
    optimizers = options.optimizer or sorted(OPTIMIZERS.names())
    shared = {name: getattr(options, name) for name in ("loss", "batch", "parts", "classes")}
    try:
        for backbone in backbones:
            cases = [
                {"backbone": backbone, "optimizer": optimizer, **shared} for optimizer in optimizers
            ]
            for report in launch(RANK, cases, ranks=options.ranks, PLSC_STOCK_CPU="1"):
                print(json.dumps(report), flush=True)
    except UserError as error:
        print(f"launches: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
