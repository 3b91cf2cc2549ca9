"""Losses: margins on the angle between an embedding and its class centre.

A new loss is a `Margin` in a file of this folder, registered with `@LOSSES.register`; a config then
names its class in `Loss.Train`, and no other file has to import it. margin.py states the contract
and holds `MarginLoss` (SphereFace, ArcFace, CosFace); magface.py and adaface.py hold the losses
that use the feature's length. softmax.py and interclass.py serve the head, whatever the loss.
"""
