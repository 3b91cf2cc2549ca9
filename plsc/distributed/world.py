"""This process among all. The only reader of the launcher's PADDLE_* variables."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

INTERFACE_HINT = (
    "check that --master is reachable from every node and name the network interface with "
    "GLOO_SOCKET_IFNAME (CPU) or NCCL_SOCKET_IFNAME (GPU)"
)


@dataclass(frozen=True)
class World:
    """One process's place: `rank` of `size`, one of `local_size` on `host`.

    `gpu` is the number of the GPU that the launcher gave it, among the visible ones.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    host: str = "localhost"
    master: str = ""
    gpu: int = 0

    @property
    def is_main(self) -> bool:
        """Tell whether this process speaks for all: it writes the log and the replicated state."""
        return self.rank == 0


@functools.cache
def current() -> World:
    """Return the world as Paddle's launcher describes it; one process without it."""
    get = os.environ.get
    return World(
        rank=int(get("PADDLE_TRAINER_ID", "0")),
        size=int(get("PADDLE_TRAINERS_NUM", "1")),
        local_size=int(get("PADDLE_LOCAL_SIZE", "1")),
        host=socket.gethostname(),
        master=get("PADDLE_MASTER", ""),
        gpu=int(get("FLAGS_selected_gpus", "0").split(",")[0]),
    )


def launch_id() -> str:
    """Return a text that this launch's ranks share; another launch has another master port."""
    return current().master.replace(":", "-").replace("/", "-") or f"process-{os.getpid()}"


def init(*, device: str = "cpu", timeout: float = 100.0) -> World:
    """Join the process group and prove with one all-reduce that every rank answers.

    A group that does not come together within `timeout` seconds ends this process with a line
    that names it and the interface variables to look at.
    """
    world = current()
    if world.size == 1:
        return world
    if device == "cpu":
        # Paddle's GPU build would take NCCL, which has nothing to say to a CPU.
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    with _killed_after(timeout, world):
        import paddle
        from paddle import distributed

        distributed.init_parallel_env()
        ranks = paddle.to_tensor([world.rank + 1.0])
        distributed.all_reduce(ranks)
    if ranks.item() != world.size * (world.size + 1) / 2:
        raise RuntimeError(f"preflight all-reduce over {world.size} ranks gave {ranks.item()}")
    return world


# Waits for a line on its standard input; without one it speaks and kills its parent.
WATCHDOG = """
import os, select, signal, sys
timeout, message, parent = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if not select.select([sys.stdin], [], [], timeout)[0] and os.getppid() == parent:
    print(message, file=sys.stderr, flush=True)
    os.kill(parent, signal.SIGKILL)
"""


@contextlib.contextmanager
def _killed_after(timeout: float, world: World) -> Iterator[None]:
    """Kill this process if the block takes longer than `timeout` seconds.

    By a process of its own: Paddle holds the interpreter's lock while it waits for other ranks,
    so no thread of this one would run.
    """
    message = (
        f"plsc: rank {world.rank} on host {world.host} waited {timeout:.0f} s for the other "
        f"{world.size - 1} rank(s) (master {world.master}); {INTERFACE_HINT}"
    )
    command = [sys.executable, "-I", "-c", WATCHDOG, str(timeout), message, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as watchdog:
        try:
            yield
        finally:
            assert watchdog.stdin is not None
            watchdog.stdin.close()  # its select returns: end of file
