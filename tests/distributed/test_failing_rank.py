"""A rank of plsc-train that is killed stops the others, and the console names it last."""

import os
import socket
import subprocess
import time
from pathlib import Path


def trainer_of(rank: int, folder: Path) -> int:
    """Pid of the process that trains as `rank` for the run in `folder` (not its supervisor)."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        ours = str(folder).encode() in command and b"launch" not in command
        supervised = any(item.startswith(b"PLSC_SUPERVISED=") for item in variables)
        if ours and supervised and f"PADDLE_TRAINER_ID={rank}".encode() in variables:
            return int(process.name)
    raise AssertionError(f"no trainer of rank {rank}")


def test_killed_rank_is_named_and_stops_the_run(run):
    command = run.world.command(2, *run.arguments("train", "Global.epochs=1000"))
    with subprocess.Popen(
        command, cwd=run.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as launcher:
        deadline = time.monotonic() + 90
        while not (run.output / "metrics.jsonl").exists():
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.2)
        os.kill(trainer_of(1, run.folder), 9)
        killed = time.monotonic()
        said = launcher.stdout.read()
        status = launcher.wait(60)
    assert status != 0 and time.monotonic() - killed < 60
    last = [line for line in said.splitlines() if line.startswith("plsc: ")][-1]
    assert (
        f"rank 1 on {socket.gethostname()}" in last
        or f"rank 1 on host {socket.gethostname()}" in last
    )
    assert "killed" in last
    for rank in (0, 1):
        log = (run.folder / "log" / f"workerlog.{rank}").read_text()
        assert log.rstrip().splitlines()[-1].startswith("plsc: rank 1"), log[-2000:]


def test_first_non_finite_loss_stops_and_names_the_tensor(run):
    """A learning rate of 1e30 makes weights so large that the next features overflow."""
    wild = "LRScheduler.learning_rate=1e30", "Optimizer.grad_clip=null"
    done = run("train", *wild, check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "step 2: the loss is nan" in last and "rank 0" in last, last
    assert "output (64 of 64 values" in last and "lower the learning rate" in last, last
    assert list(run.losses()) == [1]
