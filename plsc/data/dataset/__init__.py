"""Training and verification sets."""
