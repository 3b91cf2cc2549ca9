"""`python tools/train.py -c CONFIG.yaml`: plsc-train from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plsc.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
