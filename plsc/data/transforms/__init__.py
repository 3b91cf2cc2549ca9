"""Encoded image -> the network's input, step by step."""
