"""What a config needs of a machine, on paper: memory, communication, time. No training."""
