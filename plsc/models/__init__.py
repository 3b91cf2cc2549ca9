"""Backbones: images [b,3,112,112] -> features [b,d]; single-device code."""
