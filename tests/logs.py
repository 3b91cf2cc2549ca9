"""A log that keeps what it is told."""


class Log:
    """Stands in for a run's log."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)
