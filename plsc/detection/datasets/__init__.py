"""Sets of images with faces marked in them, as configs name them."""
