"""Write an evaluation's figures: terminal, JSON file, page."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from plsc import __version__
from plsc.files.atomic import require_writable, write_output
from plsc.recognition.metrics.tables import set_tables, threshold_table
from plsc.recognition.metrics.verification import VerificationReport
from plsc.recognition.report.evaluation import CAUTION, MeasuredSet, ModelCard
from plsc.recognition.report.page import require_page, write_page

STDOUT = "-"


def to_dict(card: ModelCard, reports: Sequence[VerificationReport]) -> dict[str, Any]:
    """Return everything but curves and pictures, as JSON has it."""
    sets = [report.to_dict() for report in reports]
    return {"plsc": __version__, "model": asdict(card), "sets": sets}


@dataclass(frozen=True)
class Outputs:
    """The files that the user wants beside tables.

    Attributes:
        json: file for all figures; `-` prints them in place of the tables; None for none.
        report: folder for a page; None for none.

    """

    json: str | None = None
    report: str | None = None

    @property
    def json_to_stdout(self) -> bool:
        """Tell whether standard output is for a program."""
        return self.json == STDOUT

    def check(self) -> None:
        """Refuse, before the work, what could not be written.

        Raises:
            UserError: says what and why.

        """
        if self.json is not None and not self.json_to_stdout:
            require_writable(self.json)
        if self.report is not None:
            require_page(self.report)

    def write(self, card: ModelCard, sets: Sequence[MeasuredSet]) -> None:
        """Write JSON and page; print the tables, even if a file cannot be written.

        Raises:
            UserError: the system refuses.

        """
        reports = [measured.report for measured in sets]
        text = "" if self.json is None else json.dumps(to_dict(card, reports), indent=1) + "\n"
        tables = [set_tables(reports), *map(threshold_table, reports), CAUTION]
        try:
            if self.json is not None and not self.json_to_stdout:
                write_output(self.json, text)
            if self.report is not None:
                path = write_page(self.report, card, sets)
                print(f"report: {path}", file=sys.stderr, flush=True)
        finally:
            sys.stdout.write(text if self.json_to_stdout else "\n\n".join(tables) + "\n")
            sys.stdout.flush()
