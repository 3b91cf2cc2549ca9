"""What is measured of embeddings, in numpy alone."""
