"""Partial FC: the margin head whose class centres are split over ranks and sampled.

In a step of n samples per rank with d-dimensional float32 features, a rank exchanges the following
with the W - 1 others. Figures are bytes of the results; `step_traffic` in plan/head.py computes
them:

- the labels, once, for the sampling and all micro-batches: 8 W n;
- the features, gathered micro-batch by micro-batch: 4 W n d;
- for each loss, the largest logit of each sample, and then the sum of the exponentials together
  with the target's logit, which only one rank has: 3 numbers, 4 * 3 W n;
- the gradient with respect to all features, summed: 4 W n d;
- the squared norm of the gradient of the rank's rows: 4.

Rows never leave their rank, so nothing here grows with the number of classes or of sampled rows.
The gradients of the backbone come on top, 4 bytes per parameter. paddle.DataParallel reduces them
while backward is still running.
"""
