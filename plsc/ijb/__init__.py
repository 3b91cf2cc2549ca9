"""The IJB-B and IJB-C benchmarks: protocol files, embeddings, results."""
