"""Runs plsc's commands in children of one process that has imported what they need.

To import paddle takes a command as long as to train on a few images. This process computes nothing
itself, so that its children are like new processes: no threads, no random state, no devices.

Standard input: one JSON object per line, {"command": "train", "arguments": [...], "folder": ...,
"variables": {...}, "out": FILE, "err": FILE}. Standard output: a line with the exit status of each
as it ends.
"""

import gc
import json
import os
import random
import sys

from plsc.nn import environment as runtime


def become(request: dict) -> None:
    """Make this child what a shell would have started."""
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    random.seed()
    numpy.random.seed()
    sys.argv = [f"plsc-{request['command']}", *request["arguments"]]


def serve() -> None:
    """Answer requests until standard input ends; returns in children, too."""
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(request)
            sys.exit(commands[request["command"]].main())
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    runtime.prepare(local_size=1)  # the number of threads is read once, when paddle is imported
    runtime.import_paddle()
    import numpy

    import plsc.engine.run  # noqa: F401
    from plsc.cli import compare, embed, evaluate, export, ijb, quality, train, widerface
    from plsc.cli.data import main as data

    commands = {"train": train, "eval": evaluate, "export": export, "embed": embed}
    commands |= {
        "widerface": widerface,
        "compare": compare,
        "ijb": ijb,
        "quality": quality,
        "data": data,
    }

    gc.freeze()  # no child goes through what is here already
    serve()
