"""Networks that find faces, one registered name each."""
