"""Which process this is among how many. The only reader of the launcher's PADDLE_* variables."""

import functools
import os
import socket
import sys
import threading
from dataclasses import dataclass

INTERFACE_HINT = (
    "check that --master is reachable from every node and name the network interface with "
    "GLOO_SOCKET_IFNAME (CPU) or NCCL_SOCKET_IFNAME (GPU)"
)


@dataclass(frozen=True)
class World:
    """One process's place: `rank` of `size`, `local_rank` of `local_size` on `host`.

    `gpu` is the number of the GPU that the launcher gave it, among the visible ones.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    host: str = "localhost"
    master: str = ""
    gpu: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process speaks for all: it writes the log and the replicated state."""
        return self.rank == 0


@functools.cache
def current() -> World:
    """The world as `python -m paddle.distributed.launch` describes it; one process without it."""
    get = os.environ.get
    return World(
        rank=int(get("PADDLE_TRAINER_ID", "0")),
        size=int(get("PADDLE_TRAINERS_NUM", "1")),
        local_rank=int(get("PADDLE_RANK_IN_NODE", get("PADDLE_LOCAL_RANK", "0"))),
        local_size=int(get("PADDLE_LOCAL_SIZE", "1")),
        host=socket.gethostname(),
        master=get("PADDLE_MASTER", ""),
        gpu=int(get("FLAGS_selected_gpus", "0").split(",")[0]),
    )


def launch_id() -> str:
    """A text that all ranks of this launch share; another launch has another master port."""
    return current().master.replace(":", "-").replace("/", "-") or f"process-{os.getpid()}"


def init(*, device: str = "cpu", timeout: float = 120.0) -> World:
    """Join the process group and prove with one all-reduce that every rank answers.

    A group that does not come together within `timeout` seconds ends this process with a line
    that names it and the interface variables to look at: both the rendezvous and the all-reduce
    block in C++ and cannot be interrupted from Python.
    """
    world = current()
    if world.size == 1:
        return world

    def give_up() -> None:
        print(
            f"plsc: rank {world.rank} on host {world.host} waited {timeout:.0f} s for the other "
            f"{world.size - 1} ranks (master {world.master}); {INTERFACE_HINT}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(3)

    if device == "cpu":
        # Paddle's GPU build would take NCCL, which has nothing to say to a CPU.
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    watchdog = threading.Timer(timeout, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        import paddle
        from paddle import distributed

        distributed.init_parallel_env()
        ranks = paddle.to_tensor([world.rank + 1.0])
        distributed.all_reduce(ranks)
        if ranks.item() != world.size * (world.size + 1) / 2:
            raise RuntimeError(f"preflight all-reduce over {world.size} ranks gave {ranks.item()}")
    finally:
        watchdog.cancel()
    return world
