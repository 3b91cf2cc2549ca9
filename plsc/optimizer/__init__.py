"""Update rules for whole tensors and for sampled rows, and clipping."""
