"""Starts worlds of processes that measure something, and returns what they report."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plsc.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def report_cases(measure: Callable[[dict[str, Any]], Any]) -> None:
    """Be one rank: measure each case that `launch` gave; rank 0 writes the reports."""
    from plsc.distributed import world
    from plsc.nn import environment

    place = world.current()
    environment.prepare(local_size=place.local_size)
    environment.import_paddle()
    import paddle

    paddle.set_device("cpu")
    world.init()
    reports = [measure(case) for case in json.loads(sys.argv[1])]
    if place.is_main:
        Path(sys.argv[2]).write_text(json.dumps(reports))


def launch(script: Path, cases: list[dict[str, Any]], *, ranks: int, **environment: str) -> Any:
    """Return the reports of a world of processes about its cases.

    Args:
        script: of a rank, which calls `report_cases`.
        cases: what is measured, one after the other.
        ranks: processes.
        environment: variables of theirs.

    Raises:
        UserError: a rank failed.

    """
    launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={ranks}"]
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log"
        world = [*launcher, f"--log_dir={log}"] if ranks > 1 else []
        command = [sys.executable, *world, str(script), json.dumps(cases), str(report)]
        variables = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
        if done.returncode:
            logs = [path.read_text(errors="replace") for path in sorted(log.glob("workerlog.*"))]
            lines = "\n".join([done.stderr, *logs]).strip().splitlines()
            said = "\n".join(lines[-20:])
            raise UserError(f"a world of {ranks} ranks failed with {done.returncode}:\n{said}")
        return json.loads(report.read_text())
