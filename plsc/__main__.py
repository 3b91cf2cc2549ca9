"""`python -m plsc train|eval|export …`: the commands, where no script is installed."""

import sys

from plsc.cli import config_commands as cli

COMMANDS = {"train": cli.train, "eval": cli.evaluate, "export": cli.export}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: python -m plsc {{{','.join(COMMANDS)}}} -c CONFIG.yaml [-o Key=value]...")
    sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))
