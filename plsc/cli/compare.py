"""`plsc-compare`: how alike two faces are to a model, and whether they are one person's."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.cli.options import add_flip, add_model, add_shared, embedder_of, new_parser
from plsc.cli.status import exit_status
from plsc.errors import UserError
from plsc.recognition.embedder import Embedder
from plsc.recognition.metrics.roc import Threshold

DESCRIPTION = """Compare two faces: the cosine of their embeddings, the squared L2 distance and the
angle that are the same, and the verdict at each false accept rate (FAR) if the model carries
thresholds or --threshold gives one: one person where the cosine is at or above it.

A and B must be aligned faces of the model's size (`plsc-data align` makes them)."""
EXAMPLES = """examples:
  plsc-compare output/IResNet50.onnx a.png b.png
  plsc-compare output/IResNet50/best_model a.jpg b.jpg --threshold 0.3

Exit status: 0 compared, whatever the verdict; 2 something is to be mended (said in one line)."""
SAME, DIFFERENT = "same person", "different people"


def compare(
    embedder: Embedder, first: str, second: str, *, flip: bool = False, resize: bool = False
) -> float:
    """Return the cosine of two image files' embeddings.

    Args:
        embedder: the model.
        first: path.
        second: path.
        flip: add the mirrored images' embeddings before.
        resize: bring images to the model's size; else those of another are refused.

    Raises:
        UserError: an image or an embedding cannot be used.

    """
    rows = embedder.embed_files([first, second], resize=resize)
    if flip:
        rows += embedder.embed_files([first, second], resize=resize, flip=True)
    return _cosine(*rows.astype(np.float64))


def _cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not lengths:
        raise UserError("an embedding is zero: it has no direction to compare")
    return float(np.clip(first @ second / lengths, -1, 1))


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser("plsc-compare", description=DESCRIPTION, examples=EXAMPLES)
    add_model(parser)
    add = parser.add_argument
    add("first", metavar="A", help="image file")
    add("second", metavar="B", help="image file")
    add("--threshold", type=float, metavar="T", help="cosine from which on it is one person")
    add_flip(
        parser,
        default=None,
        help="sum: add the embeddings of the mirrored images (as the model's thresholds were "
        "measured; without thresholds none)",
    )
    add_shared(parser, "resize")
    add_shared(parser, "json")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command; see `build_parser` for its options.

    Raises:
        UserError: wrong options, or a model or an image that cannot be used.

    """
    threshold = options.threshold
    if threshold is not None and not -1 <= threshold <= 1:
        raise UserError(f"--threshold is a cosine, from -1 to 1, got {threshold}")
    embedder = embedder_of(options, batch_size=2)
    table = embedder.info.thresholds
    measured = "sum" if table and table.flip else "none"
    flip = options.flip or measured
    if table and flip != measured:
        raise UserError(
            f"--flip {flip}: the model's thresholds were measured with --flip {measured}: leave it "
            "out"
        )
    for name, value in table.prepared.items() if table else ():
        if getattr(embedder.info, name, None) != value:
            values = value if isinstance(value, tuple) else (value,)
            given = " ".join(map(str, values[:1] if len(set(values)) == 1 else values))
            raise UserError(
                f"the model's thresholds were measured with --{name.replace('_', '-')} {given}: "
                "give it here, too"
            )
    cosine = compare(
        embedder, options.first, options.second, flip=flip == "sum", resize=options.resize
    )
    same = Threshold(cosine)
    report = {
        "first": options.first,
        "second": options.second,
        "model": {"path": options.model, "digest": embedder.digest, "notes": embedder.info.notes},
        "flip": flip,
        **same.to_dict(),
        "set": table.set_name if table else None,
        "verdicts": [
            {"far": far, "threshold": value, "same": cosine >= value}
            for far, value in (
                *(table.cosines if table else {}).items(),
                *([] if threshold is None else [(None, threshold)]),
            )
        ],
    }
    print(json.dumps(report) if options.json else _text(report))
    return 0


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"cosine {report['cosine']:.4f}   squared L2 {report['squared_distance']:.4f}   "
        f"angle {report['angle_degrees']:.2f} degrees"
    ]
    verdicts = report["verdicts"]
    if verdicts:
        rows = [("FAR", "threshold", "verdict")]
        rows += [
            (
                item["far"] or "given",
                f"{item['threshold']:.4f}",
                SAME if item["same"] else DIFFERENT,
            )
            for item in verdicts
        ]
        width = max(len(far) for far, _, _ in rows)
        lines += ["", *(f"{far:<{width}}  {value:>9}  {verdict}" for far, value, verdict in rows)]
    else:
        lines.append("no verdict: the model carries no thresholds; --threshold T gives one")
    if report["set"]:
        lines.append(f"thresholds measured on {report['set']}; on other photos rates differ")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-compare", lambda: run(build_parser().parse_args(argv)))
