"""Compiled loops over tensors in memory, for CPUs; optional."""
