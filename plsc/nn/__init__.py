"""Layers that several networks share, their CPU kernels, and the environment these need."""
