"""Layers and blocks that several networks share, their CPU kernels, and the environment that these need."""
