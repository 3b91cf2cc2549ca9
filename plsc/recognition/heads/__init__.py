"""Partial FC: the margin head whose class centres are split over ranks and sampled.

What a rank exchanges with the W - 1 others in a step of n samples per rank and d-dimensional
features in float32, in bytes of the results (`step_traffic` in plan/head.py is the same as a
function):

- the labels, once, for the sampling and all micro-batches: 8 W n;
- the features, gathered micro-batch by micro-batch: 4 W n d;
- of each loss, the largest logit of each sample, and then the sum of the exponentials and the
  target's logit together, which only one rank has: 3 numbers, 4 * 3 W n;
- the gradient with respect to all features, summed: 4 W n d;
- the square of the gradient's norm, of the rank's rows: 4.

Rows never leave their rank, so nothing here grows with the number of classes or of sampled rows.
The backbone's gradients come to that, 4 bytes a parameter, reduced by paddle.DataParallel while
backward is still at work.
"""
