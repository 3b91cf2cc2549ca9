"""State dicts that torch.save wrote of a network that a task knows by them: run by Paddle."""

from pathlib import Path
from typing import TYPE_CHECKING

from plsc.config.registry import TASKS
from plsc.errors import UserError
from plsc.inference.network import InputSpec, Network, digest_of
from plsc.inference.paddle_network import runner, start_paddle

if TYPE_CHECKING:
    from plsc.weights.weights import NetworkInFile

SUFFIXES = (".pth", ".pt")


def open_torch(path: str, provider: str) -> Network:
    """Return the network in `path`, which keeps no config, with what is known of its origin.

    Raises:
        UserError: Paddle or the device is missing, the file is damaged, or no task knows what it
            holds.

    """
    start_paddle(provider)
    found = _network_in(path)
    return Network(
        path=path,
        kind="torch",
        run=runner(found.network),
        input=InputSpec(size=found.size),
        digest=digest_of([Path(path)], also=found.identity),
        metadata=found.trained_on.metadata() if found.trained_on else {},
        said_by=found.said_by,
        notes=found.notes,
    )


def _network_in(path: str) -> "NetworkInFile":
    """Ask each task for the network; raise the first refusal if none has it."""
    refusals = []
    for name in TASKS.names():
        try:
            found: NetworkInFile | None = TASKS.get(name, "task")().network_in(path)
        except UserError as error:
            refusals.append(error)
            continue
        if found is not None:
            return found
    raise refusals[0]
