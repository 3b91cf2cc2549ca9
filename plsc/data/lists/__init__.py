"""Text files that name images, classes, pairs or landmarks."""
