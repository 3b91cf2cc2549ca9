"""Training, evaluation and export: what the commands call."""
