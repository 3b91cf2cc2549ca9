"""Large-scale face recognition training on PaddlePaddle 3. Importing it loads nothing heavy.

`plsc.Embedder` makes embeddings with a trained model; see plsc/recognition/embedder.py.
"""

import importlib
from typing import Any

__version__ = "3.0.0"
__all__ = ["Embedder", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Embedder` when it is first asked for."""
    if name == "Embedder":
        return importlib.import_module("plsc.recognition.embedder").Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
