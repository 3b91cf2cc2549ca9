"""Training and verification sets of faces."""
