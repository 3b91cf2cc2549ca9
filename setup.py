"""Packaging of plsc; the version is read from the package without importing it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "plsc" / "__init__.py").read_text()).group(1)

# paddlepaddle stays out of install_requires: a GPU user already has paddlepaddle-gpu, and the two
# wheels overwrite each other's files. There is no extra for the GPU build: its wheels for Paddle 3
# are not on PyPI but on Paddle's own index, one per CUDA version.
CPU = ["paddlepaddle>=3.3,<4", "numba>=0.60"]  # numba: kernels that Paddle has no fast ones of
ONNX = ["onnx>=1.17", "onnxruntime>=1.20", "paddle2onnx>=2.1"]
PLOT = ["matplotlib>=3.7"]
VISUALDL = ["visualdl>=2.5"]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "scipy", "safetensors>=0.4"]
TEST += ["ruff>=0.6", "mypy>=1.11", "types-PyYAML"]
DOCS = ["zensical==0.0.73"]  # builds mkdocs.yml; its search needs no server
BUILD = ["build", "setuptools>=68", "wheel"]  # a test builds the wheel without network

setup(
    name="plsc",
    version=VERSION,
    description="Large-scale face recognition training on PaddlePaddle 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["plsc", "plsc.*"]),
    package_data={"plsc": ["**/*.html.j2", "**/*.css"]},
    install_requires=(ROOT / "requirements.txt").read_text().split(),
    extras_require={
        "cpu": CPU,
        "onnx": ONNX,
        "plot": PLOT,
        "visualdl": VISUALDL,
        "docs": DOCS,
        "test": [*CPU, *ONNX, *PLOT, *TEST, *BUILD],
    },
    entry_points={
        "console_scripts": [
            "plsc-train = plsc.cli.train:main",
            "plsc-eval = plsc.cli.evaluate:main",
            "plsc-export = plsc.cli.export:main",
            "plsc-doctor = plsc.cli.doctor:main",
            "plsc-data = plsc.cli.data.main:main",
            "plsc-embed = plsc.cli.embed:main",
            "plsc-compare = plsc.cli.compare:main",
            "plsc-ijb = plsc.cli.ijb:main",
            "plsc-quality = plsc.cli.quality:main",
            "plsc-widerface = plsc.cli.widerface:main",
        ]
    },
    classifiers=["Programming Language :: Python :: 3"],
)
