"""What a set of faces holds, and what is wrong with it."""
