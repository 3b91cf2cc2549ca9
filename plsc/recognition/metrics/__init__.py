"""Measure embeddings, in numpy alone."""
