"""Losses: margins on the angle between an embedding and its class centre.

To add a loss, write a `Margin` in a new file of this folder and register it with
`@LOSSES.register`. A config names the class in `Loss.Train`; no other file imports it. margin.py
states the contract and holds `MarginLoss` (SphereFace, ArcFace, CosFace). magface.py and adaface.py
hold losses that use the length of the feature. softmax.py and interclass.py serve every loss.
"""
