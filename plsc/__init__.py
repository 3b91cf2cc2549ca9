"""Large-scale face recognition training on PaddlePaddle 3. Importing it loads nothing heavy."""

__version__ = "3.0.0"
