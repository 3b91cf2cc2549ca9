"""Backbones: images -> embeddings."""
