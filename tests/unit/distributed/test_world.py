"""Joining the other ranks: who one is, and an end with a hint where nobody comes."""

import os
import socket
import subprocess
import sys

JOIN = (
    "from plsc.distributed import world; print(world.current(), flush=True); world.init(timeout=4)"
)


def test_a_rank_that_waits_alone_says_so_and_ends(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    variables = {
        "PADDLE_TRAINER_ID": "0",
        "PADDLE_TRAINERS_NUM": "2",
        "PADDLE_MASTER": f"127.0.0.1:{port}",
        "PADDLE_CURRENT_ENDPOINT": "127.0.0.1:1",
        "PADDLE_TRAINER_ENDPOINTS": "127.0.0.1:1,127.0.0.1:2",
    }
    done = subprocess.run(
        [sys.executable, "-c", JOIN],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0 and "rank=0, size=2" in done.stdout
    line = next(line for line in done.stderr.splitlines() if line.startswith("plsc: "))
    assert f"rank 0 on host {socket.gethostname()} waited 4 s for the other 1 rank" in line
    assert "GLOO_SOCKET_IFNAME" in line and "NCCL_SOCKET_IFNAME" in line
