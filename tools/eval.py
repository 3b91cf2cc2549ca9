"""`python tools/eval.py -c CONFIG.yaml`: plsc-eval from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plsc.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
