"""Verification reports as text tables for a terminal."""

from collections.abc import Sequence

from plsc.recognition.metrics.folds import Accuracy, ProtocolName
from plsc.recognition.metrics.roc import OperatingPoint, far_name
from plsc.recognition.metrics.verification import VerificationReport

FAR_COLUMN = 1e-3  # the usual sets of 3000 impostor pairs just resolve this rate
PROTOCOLS: dict[ProtocolName, str] = {
    "insightface": "InsightFace's protocol, squared distances of embeddings of length 1",
    "magface": "MagFace's protocol, angles of embeddings less the mean of the other folds'",
}
NO_SPREAD = " " * len(" ± 0.00")  # aligns a mean without spread with those that have one


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align `rows` in lines of text: the first column to the left, the others to the right.

    Two spaces separate the columns. A row may have one more cell than the others: a remark, which
    is appended unaligned.
    """
    num_columns = min(len(row) for row in rows)
    widths = [max(len(row[column]) for row in rows) for column in range(num_columns)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join([*cells, *row[num_columns:]]).rstrip())
    return "\n".join(lines)


def threshold_table(report: VerificationReport) -> str:
    """Return a line about the set, then a table of TAR and threshold by false accept rate."""
    return f"{report.name}: {about(report)}\n{aligned(threshold_rows(report))}"


def about(report: VerificationReport) -> str:
    """Return one line that says which pairs and embeddings `report` rests on."""
    embeddings = "sums with the mirrored images" if report.flip else "images as they are"
    impostors = report.curve.num_impostors
    return f"{len(report.issame)} pairs, {impostors} of them impostors; {embeddings}"


def threshold_rows(report: VerificationReport) -> list[list[str]]:
    """Return the header and a row per false accept rate; unresolved rows end with a remark."""
    head = ["FAR", "TAR %", "impostors", "cosine", "L2^2", "angle"]
    return [head, *(_threshold_row(point) for point in report.points)]


def _threshold_row(point: OperatingPoint) -> list[str]:
    name, threshold = far_name(point.far), point.threshold
    if threshold is None or point.tar is None:
        return [name, *"-----", f"needs {point.needed} impostors"]
    return [
        name,
        _percent(point.tar),
        f"{point.accepted} of {point.impostors}",
        f"{threshold.cosine:.4f}",
        f"{threshold.squared_distance:.4f}",
        f"{threshold.angle:.2f}°",
    ]


def by_protocol(
    reports: Sequence[VerificationReport],
) -> dict[ProtocolName, list[VerificationReport]]:
    """Group the reports by protocol: only within a group can accuracies be compared."""
    parts: dict[ProtocolName, list[VerificationReport]] = {}
    for report in reports:
        parts.setdefault(report.accuracy.protocol, []).append(report)
    return parts


def set_tables(reports: Sequence[VerificationReport]) -> str:
    """Return a table for each protocol, followed by a line that names the protocol.

    A table has one line per set. With several sets, it ends with the mean of each column.
    """
    return "\n\n".join(
        f"{aligned(set_rows(part))}\naccuracy by {PROTOCOLS[protocol]}"
        for protocol, part in by_protocol(reports).items()
    )


def set_rows(reports: Sequence[VerificationReport]) -> list[list[str]]:
    """Return the cells of a table of `set_tables`, header first; all `reports` share a protocol."""
    head = ["set", "pairs", "accuracy %", "without flip", "TAR@FAR=1e-3", "AUC %", "EER %", "xnorm"]
    rows = [
        [
            report.name,
            str(len(report.issame)),
            _with_spread(report.best_accuracy),
            _with_spread(report.accuracy),
            _percent(report.curve.at(FAR_COLUMN).tar),
            _percent(report.curve.auc),
            _percent(report.curve.eer.rate),
            f"{report.xnorm:.2f}",
        ]
        for report in reports
    ]
    if len(reports) > 1:
        rows.append(_mean_row(reports))
    flip_column = head.index("without flip")
    if not any(report.flip for report in reports):
        head, *rows = [row[:flip_column] + row[flip_column + 1 :] for row in [head, *rows]]
    return [head, *rows]


def summary_rows(report: VerificationReport) -> list[tuple[str, list[str]]]:
    """Return the name of each figure of one set with the lines that state it."""
    best, eer, val = report.best_accuracy, report.curve.eer, report.val
    accuracy = [f"{_with_spread(best)} % over {len(best.folds)} folds"]
    if report.flip:
        accuracy.append(f"{_with_spread(report.accuracy)} % without the mirrored images")
    accuracy.append(f"by {PROTOCOLS[best.protocol]}")
    rows = [
        ("Accuracy", accuracy),
        ("Best threshold", _best_threshold(best)),
        ("EER", [f"{_percent(eer.rate)} %, at cosine {eer.threshold.cosine:.4f}"]),
        ("AUC", [f"{_percent(report.curve.auc)} %"]),
    ]
    if report.curve.at(val.target).resolved:
        share = f"{_percent(val.val)} ± {_percent(val.std)}"
        rows.append(("VAL", [f"{share} % at FAR {far_name(val.target)}, over folds"]))
    return rows


def _best_threshold(accuracy: Accuracy) -> list[str]:
    right = f"cosine {accuracy.cosine:.4f}: most correct decisions on all pairs"
    if accuracy.protocol == "insightface":
        return [right]
    return [
        f"angle {accuracy.threshold:.2f} · 180°, {right}",
        "applies to embeddings less the mean of this set only",
    ]


def _mean_row(reports: Sequence[VerificationReport]) -> list[str]:
    def mean(values: Sequence[float | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return sum(numbers) / len(numbers) if len(numbers) == len(values) else None

    return [
        "mean",
        "",
        _percent(mean([report.best_accuracy.mean for report in reports])) + NO_SPREAD,
        _percent(mean([report.accuracy.mean for report in reports])) + NO_SPREAD,
        _percent(mean([report.curve.at(FAR_COLUMN).tar for report in reports])),
        _percent(mean([report.curve.auc for report in reports])),
        _percent(mean([report.curve.eer.rate for report in reports])),
        "",
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _with_spread(accuracy: Accuracy) -> str:
    return f"{_percent(accuracy.mean)} ± {_percent(accuracy.std)}"
