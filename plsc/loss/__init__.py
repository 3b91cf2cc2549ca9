"""Margins and the softmax over a sharded class axis."""
