"""`python -m plsc COMMAND …`: the commands, where no script is installed."""

import sys
from importlib import import_module

COMMANDS = {  # each is imported only when it is asked for
    "train": "plsc.cli.train",
    "eval": "plsc.cli.evaluate",
    "export": "plsc.cli.export",
    "doctor": "plsc.cli.doctor",
    "data": "plsc.cli.data.main",
    "embed": "plsc.cli.embed",
    "compare": "plsc.cli.compare",
    "widerface": "plsc.cli.widerface",
    "ijb": "plsc.cli.ijb",
    "quality": "plsc.cli.quality",
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: python -m plsc {{{','.join(COMMANDS)}}} ...; COMMAND --help says more")
    sys.exit(import_module(COMMANDS[sys.argv[1]]).main(sys.argv[2:]))
