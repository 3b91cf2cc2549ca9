"""Options of `plsc-quality evr`, and the sets, tables and models that they name."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plsc.cli.options import (
    add_flip,
    add_input_options,
    add_shared,
    add_workers,
    check_work,
    new_parser,
)
from plsc.data.lists.image_root import shown
from plsc.data.sets.open import open_pair_sets
from plsc.data.sets.pairs import PairSet
from plsc.data.sets.set_names import distinct
from plsc.errors import UserError
from plsc.quality.error_reject import check_both_kinds, decades, impostors_needed
from plsc.quality.evr_plot import COLOURS, STYLES
from plsc.quality.evr_results import THRESHOLDS
from plsc.quality.measures import MEASURES
from plsc.quality.quality_table import QualityTable, read_quality_table
from plsc.quality.reject_curve import PARTIAL
from plsc.recognition.metrics.roc import far_name

DESCRIPTION = """Reject the pairs of worst quality, 5 % at a time, and see what share of the genuine
pairs is still refused (FNMR) at a false match rate (FMR): the error-versus-reject curve. A good
measure of quality makes it fall fast, a useless one leaves it flat. A pair is as good as the worse
of its images.

MODEL is what plsc-eval --model takes, or NAME=MODEL to choose its name in the plot. Several are
drawn together, each with its own distances.

Measures, higher is better: magnitude, the length of the embedding; sharpness, variance of the
Laplacian; brightness, how near the mean is to middle grey; contrast, RMS; random, a control. And
--csv NAME=FILE, with a path and a number in each line, or more columns below a header with `path`
and NAME. Images of a list are called as the list does, or by a path from here; those of a .bin by
their number from 0 on, or lfw.bin:17.

By the protocol of MagFace the threshold is estimated anew on what is left at each share; `fixed`
keeps that of the full set. Distances are angles between embeddings of the images as they are."""
EXAMPLES = """examples:
  plsc-quality evr output/IResNet50.onnx --bin lfw.bin cfp_fp.bin
  plsc-quality evr MagFace=a.onnx ArcFace=b.onnx --pairs pairs.txt --measure magnitude random
  plsc-quality evr a.onnx --pairs pairs.txt --image-root faces/ --csv ofiq=scores.csv --out figures

Writes OUT/<set>_evr.json, .png and .pdf. The areas are means of FNMR over the shares rejected, by
the trapezoid rule. Exit status: 0 done, 2 something is to be mended (said in one line)."""


@dataclass(frozen=True)
class Task:
    """A checked request: sets, their images' quality but for magnitude, and what to do."""

    sets: Mapping[str, PairSet]
    tables: Sequence[QualityTable]
    models: Mapping[str, str]
    measures: Sequence[str]
    fmrs: Sequence[float]
    fixed: Sequence[bool]


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser("plsc-quality evr", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help=".onnx file, checkpoint folder, stem of a "
        "Paddle inference model, or .pth of an IResNet; or NAME=MODEL")  # fmt: skip
    add_shared(parser, "bin", default=[])
    add_shared(parser, "pairs", default=[])
    text = "the folder that the lists' paths begin at (the list's own)"
    add_shared(parser, "image_root", help=text)
    add("--measure", nargs="+", choices=MEASURES, default=MEASURES, metavar="M",
        help=f"reject by these measures, of {' '.join(MEASURES)} (all)")  # fmt: skip
    add("--csv", nargs="+", action="extend", default=[], metavar="NAME=FILE", help="a measure "
        "of your own: FILE has an image's path and a number in each line")  # fmt: skip
    add("--fmr", nargs="+", type=float, default=[1e-2, 1e-3, 1e-4], metavar="RATE",
        help="false match rates, powers of ten (1e-2 1e-3 1e-4)")  # fmt: skip
    add("--threshold", choices=THRESHOLDS, default="both", help="reestimated: estimate the "
        "threshold anew at each share; fixed: keep that of the full set; both: draw a curve of "
        "each (%(default)s)")  # fmt: skip
    add("--partial", type=float, default=PARTIAL, metavar="SHARE", help="report also the area "
        "under the curve up to this share of rejected pairs (%(default)s)")  # fmt: skip
    add("--out", default="error_reject", metavar="DIR", help="folder for plots and JSON "
        "(%(default)s)")  # fmt: skip
    add_shared(parser, "json", help="print figures and files' names as one JSON object")
    text = "distances of sums with the mirrored images' embeddings, as verification has them"
    add_flip(parser, default="none", help=text, takes_value=False)
    add_shared(parser, "resize")
    add_shared(parser, "batch_size")
    add_workers(parser)
    add_shared(parser, "provider")
    add_input_options(parser, "the models' input")
    return parser


def checked_task(options: argparse.Namespace) -> Task:
    """Return what the options ask for, with all that can be told before a model runs.

    Raises:
        UserError: as `run`.

    """
    check_work(options)
    if not 0 < options.partial <= 1:
        raise UserError(f"--partial is a share above 0 and at most 1, got {options.partial:g}")
    fmrs = list(dict.fromkeys(options.fmr))
    for fmr in fmrs:
        decades(fmr)
    named = [_named(text, "--csv") for text in options.csv]
    measures = [*dict.fromkeys([*options.measure]), *(name for name, _ in named)]
    if len(set(measures)) < len(measures):
        raise UserError(f"--csv: two measures have one name: {' '.join(measures)}")
    models = [_model(text) for text in options.models]
    for what, number, most in (
        ("models", len(models), len(STYLES)),
        ("measures by --csv", len(named), len(COLOURS)),
    ):
        if number > most:
            raise UserError(f"{number} {what}: a plot can tell {most} apart")
    tables = [read_quality_table(name, file) for name, file in named]
    return Task(
        sets=open_sets(options, tables, fmrs),
        tables=tables,
        models=dict(zip(distinct(n for n, _ in models), (p for _, p in models), strict=True)),
        measures=measures,
        fmrs=fmrs,
        fixed=THRESHOLDS[options.threshold],
    )


def open_sets(
    options: argparse.Namespace, tables: Sequence[QualityTable], fmrs: Sequence[float]
) -> dict[str, PairSet]:
    """Return the sets that `--bin` and `--pairs` name, by name; each can be measured.

    Raises:
        UserError: there is none, or one cannot be used.

    """
    if options.image_root is not None and not options.pairs:
        raise UserError("--image-root is for lists of pairs: give --pairs LIST, too")
    opened = open_pair_sets(options.bin, options.pairs, options.image_root)
    if not opened:
        raise UserError("give a verification set: --bin FILE.bin, or --pairs LIST")
    for table in tables:
        plain = next((text for text in table.values if text.isdecimal()), None)
        if plain and len(options.bin) > 1:
            raise UserError(
                f"{table.file}: image {plain} is in each of {len(options.bin)} .bin files: write "
                f"{Path(options.bin[0]).name}:{plain}"
            )
    for name, pairs in opened:
        try:
            _check_set(pairs, tables, fmrs)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return dict(zip(distinct(name for name, _ in opened), (p for _, p in opened), strict=True))


def _check_set(pairs: PairSet, tables: Sequence[QualityTable], fmrs: Sequence[float]) -> None:
    check_both_kinds(pairs.issame)
    impostors = int((~pairs.issame).sum())
    if impostors < (needed := impostors_needed(max(fmrs))):
        few = "1 impostor pair gives" if impostors == 1 else f"{impostors} impostor pairs give"
        raise UserError(f"{few} no threshold: FMR {far_name(max(fmrs))} needs {needed}")
    for table in tables:
        table.of(pairs)


def _model(text: str) -> tuple[str, str]:
    """Return name and path of MODEL or NAME=MODEL."""
    path = Path(text)
    name, equals, rest = text.partition("=")
    if equals and name and "/" not in name and not path.exists():
        return shown(name), rest
    is_checkpoint = path.name in ("best_model", "latest") or path.name.startswith(
        ("step_", "epoch_")
    )
    return shown(path.absolute().parent.name if is_checkpoint else path.stem), text


def _named(text: str, option: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UserError(f"{option} takes NAME=FILE, got {text!r}")
    return name, file
