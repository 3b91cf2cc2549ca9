"""Reading, transforming, ordering and batching images."""
