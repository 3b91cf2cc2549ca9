"""IJB-B and IJB-C: from a release's folder to its figures."""
