"""Make, check and take apart sets of face images, and draw faces from numbers."""
