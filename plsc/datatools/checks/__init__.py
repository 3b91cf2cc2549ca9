"""What can be wrong with a set of images, and what it consists of."""
