"""WIDER FACE's evaluation: its ground truth, folders of predictions, and average precision."""
