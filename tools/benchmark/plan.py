"""Memory, communication and the largest class count of a config on a machine, on paper.

    python tools/benchmark/plan.py -c CONFIG --gpus 8 --memory 80
    python tools/benchmark/plan.py --check       # estimates against measured trainings, on a CPU
    python tools/benchmark/plan.py --published   # estimates against published tables

GB = 10^9 bytes. Nothing is trained for an estimate.
"""

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plsc.errors import UserError
from plsc.nn import environment as runtime

GIGABYTE = 1e9


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-c", "--config", help="the YAML file")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--gpus", type=int, default=1, help="devices, one rank on each")
    parser.add_argument("--memory", type=float, metavar="X", help="of a device, GB")
    # What is not given is a GPU's or, with Global.device cpu, a CPU's.
    text = "taken before any tensor exists, GB"
    parser.add_argument("--framework", type=float, metavar="X", help=text)
    parser.add_argument("--check", action="store_true", help="measure short trainings here")
    parser.add_argument("--backbone", help="with --check: this one alone")
    parser.add_argument("--batch", type=int, default=16, help="with --check --backbone")
    parser.add_argument("--classes", type=int, default=1000, help="with --check --backbone")
    parser.add_argument("--ratio", type=float, default=1.0, help="with --check --backbone")
    parser.add_argument("--optimizer", default="Momentum", help="with --check --backbone")
    parser.add_argument("--published", action="store_true", help="compare with published tables")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser


def main() -> int:
    """Estimate, check or compare, as the options say."""
    options = _parser().parse_args()
    runtime.prepare(local_size=1)
    runtime.import_paddle()
    try:
        if not (options.check or options.published):
            return _estimate(options)
        with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
            rows = _check(options) if options.check else _published()
        if options.json:
            print(json.dumps(rows))
        return 0
    except UserError as error:
        print(f"plan: {error}", file=sys.stderr)
        return 1


def _estimate(options: argparse.Namespace) -> int:
    from plan_sizes import sizes_tree, table, trace_of

    from plsc.config.load import load_config
    from plsc.engine.memory import machine_of

    if options.config is None:
        raise UserError("-c CONFIG is missing")
    config = load_config(options.config, options.override)
    machine = machine_of(config, options.gpus)
    if options.framework is not None:
        machine = replace(machine, framework=options.framework * GIGABYTE)
    memory = None if options.memory is None else options.memory * GIGABYTE
    trace, dim = trace_of(config)
    tree = sizes_tree(config, trace, machine, dim=dim, memory=memory)
    print(json.dumps(tree) if options.json else table(tree))
    return 0


def _check(options: argparse.Namespace) -> list[dict[str, Any]]:
    import plan_check

    cases = plan_check.CASES
    if options.backbone is not None:
        asked = (options.batch, options.classes, options.ratio, options.optimizer)
        cases = (plan_check.Case(options.backbone, *asked),)
    return plan_check.check(cases)


def _published() -> list[dict[str, Any]]:
    import plan_published

    return plan_published.compare()


if __name__ == "__main__":
    sys.exit(main())
