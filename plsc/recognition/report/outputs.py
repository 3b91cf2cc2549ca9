"""Where an evaluation's figures go: terminal, JSON file, page."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from plsc.files.atomic import require_writable
from plsc.recognition.report.evaluation import (
    STDOUT,
    MeasuredSet,
    ModelCard,
    tables,
    to_dict,
    write_json,
)
from plsc.recognition.report.page import require_page, write_page


@dataclass(frozen=True)
class Outputs:
    """What the user wants beside tables.

    Attributes:
        json: file for all figures; `-` prints them in place of the tables; None for none.
        report: folder for a page; None for none.

    """

    json: str | None = None
    report: str | None = None

    @property
    def json_to_stdout(self) -> bool:
        """Whether standard output is for a program."""
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
        """Print the tables; write JSON and page.

        Raises:
            UserError: the system refuses.

        """
        reports = [measured.report for measured in sets]
        if not self.json_to_stdout:
            print(tables(reports), flush=True)
        if self.json is not None:
            write_json(self.json, to_dict(card, reports))
        if self.report is not None:
            path = write_page(self.report, card, sets)
            print(f"report: {path}", file=sys.stderr, flush=True)
