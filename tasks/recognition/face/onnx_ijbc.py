"""`python onnx_ijbc.py --model-root M.onnx --image-path DIR [--target IJBC]`: plsc-ijb."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from plsc.cli.ijb import main

if __name__ == "__main__":
    sys.exit(main())
