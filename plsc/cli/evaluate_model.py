"""`plsc-eval --model`: any model on any verification sets, in one process."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from plsc.cli.options import PREPARATION, check_work, embedder_of
from plsc.data.sets.open import open_pair_sets
from plsc.data.sets.pairs import PairSet
from plsc.data.sets.set_names import distinct
from plsc.errors import UserError
from plsc.inference.model_info import ModelInfo
from plsc.inference.stored_measurements import require_storable, store
from plsc.nn.environment import cores
from plsc.recognition.embedder import Embedder
from plsc.recognition.metrics.folds import ProtocolName, check_pairs
from plsc.recognition.metrics.roc import FARS, OperatingPoint, far_name
from plsc.recognition.metrics.verification import VerificationReport, thresholds_of, verify
from plsc.recognition.report.evaluation import MeasuredSet, ModelCard
from plsc.recognition.report.outputs import Outputs
from plsc.recognition.set_embedding import embed_pairs

NUM_FOLDS = 10
BATCH_SIZE = 64
KINDS = {
    "onnx": "ONNX file",
    "checkpoint": "plsc checkpoint",
    "paddle": "Paddle inference model",
    "torch": "torch state dict",
}


def run(options: argparse.Namespace) -> None:
    """Do what the options say.

    Raises:
        UserError: a mistake in options, model or sets.

    """
    _check(options)
    sets = open_sets(options)
    outputs = Outputs(options.json, options.report)
    outputs.check()
    embedder = embedder_of(options, batch_size=options.batch_size or BATCH_SIZE)
    if options.store_thresholds is not None:
        require_storable(embedder.info.kind, "--store-thresholds")
    protocol: ProtocolName = options.protocol or "insightface"
    measured = []
    for name, pairs in sets.items():
        print(f"{name}: {len(pairs.issame)} pairs", file=sys.stderr, flush=True)
        flip = options.flip != "none" and protocol == "insightface"
        rows = embed_pairs(
            pairs,
            embedder,
            flip=flip,
            resize=bool(options.resize),
            num_workers=_num_workers(options),
        )
        try:
            report = verify(
                rows[:, 0],
                rows[:, 1] if flip else None,
                pairs.issame,
                name=name,
                nrof_folds=NUM_FOLDS,
                protocol=protocol,
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        measured.append(MeasuredSet(report, pairs))
    outputs.write(model_card(embedder), measured)
    if options.store_thresholds is not None:
        _store(embedder.info, [item.report for item in measured], options)


def open_sets(options: argparse.Namespace) -> dict[str, PairSet]:
    """Return the sets that `--bin` and `--pairs` name, by name.

    Raises:
        UserError: there is none, or one cannot be used.

    """
    opened = open_pair_sets(options.bin or (), options.pairs or (), options.image_root)
    if not opened:
        raise UserError("--model needs a verification set: --bin FILE.bin, or --pairs LIST")
    for name, pairs in opened:
        try:
            check_pairs(pairs.issame, NUM_FOLDS)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    names = distinct(name for name, _ in opened)
    sets = dict(zip(names, (pairs for _, pairs in opened), strict=True))
    if options.store_thresholds is not None:
        _check_wanted(options.store_thresholds, sets)
    return sets


def model_card(embedder: Embedder) -> ModelCard:
    """Return what a report says of the model."""
    info = embedder.info
    return ModelCard(
        path=info.path,
        kind=KINDS[info.kind],
        dim=info.dim,
        size=info.size,
        colour_order=info.colour_order,
        mean=info.mean,
        std=info.std,
        notes=info.notes,
        digest=embedder.digest,
    )


def _check(options: argparse.Namespace) -> None:
    check_work(options)
    if options.image_root is not None and not options.pairs:
        raise UserError("--image-root is for lists of pairs: give --pairs LIST, too")
    if options.flip == "sum" and options.protocol == "magface":
        raise UserError(
            "--protocol magface takes images without their mirror images: leave --flip sum out"
        )
    options.provider = options.provider or "cpu"


def _num_workers(options: argparse.Namespace) -> int:
    return cores() if options.num_workers is None else int(options.num_workers)


def _check_wanted(wanted: str, sets: Mapping[str, PairSet]) -> None:
    if wanted and wanted not in sets:
        raise UserError(f"--store-thresholds: no set is called {wanted!r}: {', '.join(sets)}")
    if not wanted and len(sets) > 1:
        raise UserError(f"--store-thresholds: of which set? One of {', '.join(sets)}")
    issame = sets[wanted or next(iter(sets))].issame
    most = OperatingPoint(max(FARS), impostors=int((~issame).sum()))
    if most.impostors < most.needed:
        raise UserError(
            f"--store-thresholds: {most.impostors} impostor pairs resolve no false accept rate: "
            f"{far_name(most.far)} needs {most.needed}"
        )


def _store(info: ModelInfo, reports: list[VerificationReport], options: argparse.Namespace) -> None:
    wanted = options.store_thresholds
    (report,) = [report for report in reports if wanted in ("", report.name)]
    given = [name for name in PREPARATION if getattr(options, name) is not None]
    table = thresholds_of(report) | {"prepared": {name: getattr(info, name) for name in given}}
    path = store(info.kind, Path(info.path), "thresholds", table)
    print(f"thresholds of {report.name} stored in {path}", file=sys.stderr)
