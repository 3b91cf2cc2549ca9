"""Metrics on embeddings, in numpy alone."""
