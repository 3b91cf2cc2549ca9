"""Trained networks of any origin as one kind of thing: images -> embeddings."""
