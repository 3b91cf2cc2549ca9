"""Memory of a training step, computed before it is taken."""
