"""`plsc-embed`: a set of faces -> their embeddings in one file, with an index."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plsc.cli.options import (
    add_flip,
    add_model,
    add_source,
    add_work,
    check_work,
    embedder_of,
    list_options,
    new_parser,
)
from plsc.cli.status import exit_status
from plsc.data.sets.open import fingerprint, open_images
from plsc.files.embedding_output import EmbeddingOutput
from plsc.recognition.set_embedding import embed_into

DESCRIPTION = """Embed all faces of a set: OUT.npy, float32 [n, d], as the model gives them, and
OUT.index.tsv, which says of each row its image and, where it is known, its class. SOURCE is
  a folder with one folder of images per identity, or any folder of images
  a list, or a folder with label.txt         lines: path<TAB>class; or MagFace's: path 0 class 0
  a .rec file, or a folder that holds some   MXNet RecordIO
  a .bin file, or a list of pairs            a verification set: each of its images once

A run that was killed goes on where it stopped, when it is called again. An output that is there
already, of the same model, source and options, is left as it is; any other is not replaced without
--overwrite. A folder is the same while its images have the same names: give --overwrite where one
was exchanged. Images must be aligned faces of the model's size (`plsc-data align` makes them)."""
EXAMPLES = """examples:
  plsc-embed output/IResNet50.onnx faces/ --out faces.npy
  plsc-embed output/IResNet50/best_model people/label.txt --flip sum --normalise
  plsc-embed w600k_r50.onnx train.rec --on-bad skip --provider cuda

in Python: numpy.load("faces.npy", mmap_mode="r")
Exit status: 0 done, 2 something is to be mended (said in one line)."""


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser("plsc-embed", description=DESCRIPTION, examples=EXAMPLES)
    add_model(parser)
    add_source(parser)
    add = parser.add_argument
    add("--out", default="embeddings.npy", metavar="OUT.npy", help="the output (%(default)s)")
    add_flip(
        parser,
        default="none",
        help="sum: add the embedding of the mirrored image, as verification does (%(default)s)",
    )
    add("--normalise", action="store_true", help="bring each embedding to length 1")
    add_work(parser, bad="a row of NaN")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command; see `build_parser` for its options.

    Raises:
        UserError: wrong options, or a model or source that cannot be used.

    """
    check_work(options)
    of_list = list_options(options)
    source = open_images(options.source, **of_list)
    embedder = embedder_of(options, batch_size=options.batch_size)
    about = {
        "digest": embedder.digest,
        "source": fingerprint([options.source], source, **of_list),
        "flip": options.flip,
        "normalise": options.normalise,
        "resize": options.resize,
        "on_bad": options.on_bad,
    }
    shape = len(source), embedder.info.dim
    output = EmbeddingOutput(
        options.out,
        shape=shape,
        about=about,
        remarks={"model": options.model, "notes": embedder.info.notes},
        overwrite=options.overwrite,
    )
    present, before = len(source), output.whole
    if not output.whole:
        present = embed_into(
            output,
            source,
            embedder,
            batch_size=options.batch_size,
            flip=options.flip == "sum",
            normalise=options.normalise,
            resize=options.resize,
            skip=options.on_bad == "skip",
            num_workers=options.num_workers,
        )
        output.publish()
    report = {
        "output": str(output.path),
        "index": str(output.index),
        "num_images": shape[0],
        "dim": shape[1],
        "num_skipped": count_skipped(output.index) if options.on_bad == "skip" else 0,
        "num_present_before": present,
        "model": {"path": options.model, "digest": embedder.digest, "notes": embedder.info.notes},
    }
    print(json.dumps(report) if options.json else _text(report, before))
    return 0


def count_skipped(index: Path) -> int:
    """Return rows of an index that say what was wrong with their image."""
    with open(index, "rb") as lines:
        return sum(not line.endswith(b"\t\n") for line in lines) - 1  # the header


def _text(report: dict[str, Any], before: bool) -> str:
    lines = [
        f"{report['output']}: {report['num_images']} embeddings of {report['dim']}, float32; "
        f"index in {report['index']}"
    ]
    if before:
        lines.append("it was there already, of the same model, source and options")
    elif report["num_present_before"]:
        lines.append(f"{report['num_present_before']} of them are from a run before this one")
    if report["num_skipped"]:
        lines.append(f"rows of NaN: {report['num_skipped']}; the index says what was wrong")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-embed", lambda: run(build_parser().parse_args(argv)))
