"""New sets out of images that there are."""
