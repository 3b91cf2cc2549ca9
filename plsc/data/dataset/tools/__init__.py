"""Commands that turn other formats into training data."""
