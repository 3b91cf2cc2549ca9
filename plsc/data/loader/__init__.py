"""Batches of images, read ahead by worker processes."""
