"""Check a set of images, and summarise what it consists of."""
