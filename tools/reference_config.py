"""The page of config keys, from the sections' and the parts' signatures: see reference.py."""

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plsc.config import registry, sections
from plsc.config.registry import plugin_of
from plsc.config.schema import described
from plsc.detection import sections as detection
from plsc.recognition import sections as recognition

SENTENCES = Path(__file__).with_name("reference_sentences.yaml")
NOTE = "<!-- Written by tools/reference.py: do not edit. -->"
SECTIONS = [
    ("Global", sections.GlobalConfig),
    ("FP16", sections.Fp16Config),
    ("FP16.GradScaler", sections.GradScalerConfig),
    ("DistributedStrategy", sections.DistributedConfig),
    ("DistributedStrategy.recompute", sections.RecomputeConfig),
    ("Model (recognition)", recognition.ModelConfig),
    ("Model.pfc_config", recognition.PfcConfig),
    ("Model (detection)", detection.ModelConfig),
    ("Loss (detection)", detection.LossConfig),
    ("Optimizer", sections.OptimizerConfig),
    ("DataLoader.Train", sections.TrainDataConfig),
    ("DataLoader.Eval", sections.EvalDataConfig),
    ("DataLoader.*.sampler", sections.SamplerConfig),
    ("DataLoader.*.loader", sections.TrainLoaderConfig),
    ("Metric", sections.MetricConfig),
    ("Export", sections.ExportConfig),
    ("Export (recognition)", recognition.RecognitionExport),
]
PARTS = [
    ("Backbones", "Model.name", registry.BACKBONES),
    ("Detectors", "Model.name", registry.DETECTORS),
    ("Losses", "Loss.Train", registry.LOSSES),
    ("Optimizers", "Optimizer.name", registry.OPTIMIZERS),
    ("Gradient clipping", "Optimizer.grad_clip.name", registry.CLIPS),
    ("Learning-rate schedules", "LRScheduler.name", registry.SCHEDULES),
    ("Data sets", "DataLoader.*.dataset.name", registry.DATASETS),
    ("Transforms", "DataLoader.*.dataset.transform_ops", registry.TRANSFORMS),
    ("Metrics", "Metric.Eval", registry.METRICS),
]
SUPPLIED = {"epochs", "steps_per_epoch"}  # by the run


class Sentences:
    """The sentences of the YAML file, and which of them were asked for."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
        self.used: set[str] = set()
        self.missing: list[str] = []

    def of(self, section: str, key: str) -> str:
        """Return the sentence of `section.key`, or of `key` in any section."""
        for name in (f"{section}.{key}", f"*.{key}"):
            if name in self.texts:
                self.used.add(name)
                return self.texts[name]
        self.missing.append(f"{section}.{key}")
        return ""


def cell(text: object) -> str:
    """Return text that a table's cell can hold."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def table(head: str, rows: Iterable[list[str]]) -> list[str]:
    """Return the lines of a table; `head` has the titles between bars."""
    lines = [" | ".join(cells) for cells in rows]
    return [f"| {head} |", f"|{'---|' * (head.count('|') + 1)}", *(f"| {x} |" for x in lines), ""]


def argument_texts(part: Callable[..., Any]) -> dict[str, str]:
    """Return what the `Args:` of a part's docstrings say of each parameter."""
    owners = inspect.getmro(part) if inspect.isclass(part) else (part,)
    texts: dict[str, str] = {}
    for owner in owners:
        for source in (owner, owner.__dict__.get("__init__")):
            block = re.search(r"Args:\n(.*?)(?:\n\n|\n\S|\Z)", doc(source), re.DOTALL)
            for name, text in re.findall(
                r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", block[1] if block else "", re.M | re.DOTALL
            ):
                texts.setdefault(name, " ".join(text.split()))
    return texts


def doc(thing: Any) -> str:
    """Return a docstring without its indentation."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def default_text(value: Any) -> str:
    """Return a default as a YAML file would have it."""
    if value is inspect.Parameter.empty or value is MISSING:
        return "required"
    if is_dataclass(value):
        return "see below"
    if isinstance(value, float) and value >= 2**32:
        return "`2**32`"
    plain = list(value) if isinstance(value, tuple) else value
    written = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return f"`{written.partition(chr(10))[0]}`"


def kind_text(annotation: Any) -> str:
    """Return what a value may be, in words."""
    if is_dataclass(annotation):
        return "a section"
    text = described(annotation)
    return text.replace("Component", "a part: its name and parameters").replace(
        "list[a part: its name and parameters]", "a list of parts"
    )


def section_rows(name: str, kind: Any, sentences: Sentences) -> Iterator[list[str]]:
    """Yield key, type, default and sentence of a section's keys."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        if item.name == "params":
            continue
        section = name.partition(" ")[0]
        default = default_text(item.default)
        yield [
            f"`{item.name}`",
            cell(kind_text(hints[item.name])),
            default,
            sentences.of(section, item.name),
        ]


def part_rows(part: Any, sentences: Sentences) -> Iterator[list[str]]:
    """Yield key, type, default and sentence of a part's parameters."""
    builder = part.__init__ if inspect.isclass(part) else part
    hints = typing.get_type_hints(builder, include_extras=True)
    texts = argument_texts(part)
    for name, item in inspect.signature(part).parameters.items():
        if name in SUPPLIED:
            continue
        text = texts.get(name) or sentences.of(part.__name__, name)
        kind = cell(kind_text(hints.get(name, Any)))
        yield [f"`{name}`", kind, default_text(item.default), cell(sentence(text))]


def sentence(text: str) -> str:
    """Return `text` with a capital letter and a full stop."""
    return text and text[0].upper() + text[1:].rstrip(".") + "."


def config_page(sentences: Sentences) -> str:
    """Return the page of all sections and of all parts that a config can name."""
    lines = ["# Config keys", "", NOTE, ""]
    lines += ["An override on the command line names the same keys: `-o Global.epochs=2`.", ""]
    for name, kind in SECTIONS:
        lines += [f"## {name}", ""]
        lines += table("key | value | default | meaning", section_rows(name, kind, sentences))
    for title, key, parts in PARTS:
        lines += [f"## {title}", "", f"Named by `{key}`.", ""]
        for name in parts.names():
            part = parts.get(name, key)
            if plugin_of(part) is not None:
                continue
            lines += [f"### {name}", "", doc(part).split("\n\n")[0].replace("\n", " "), ""]
            rows = list(part_rows(part, sentences))
            lines += table("key | value | default | meaning", rows) if rows else []
    return "\n".join(lines).rstrip() + "\n"
