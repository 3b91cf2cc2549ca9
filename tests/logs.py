"""A log that keeps what it is told."""

import contextlib


class Log:
    """Stands in for a run's log."""

    def __init__(self):
        self.lines = []

    def going_on(self, what):
        return contextlib.nullcontext()

    def line(self, text):
        self.lines.append(text)
