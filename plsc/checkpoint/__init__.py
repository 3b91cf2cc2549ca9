"""Checkpoints: folders that appear whole or not at all, with rows that are split over the ranks."""
