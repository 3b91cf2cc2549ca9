"""Starts worlds of processes that measure something, and returns what they report."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from plsc.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def launch(script: Path, cases: list[dict[str, Any]], *, ranks: int, **environment: str) -> Any:
    """Return the reports of a world of processes about its cases.

    Args:
        script: of a rank; it is given the cases as JSON, and a file that rank 0 writes.
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
