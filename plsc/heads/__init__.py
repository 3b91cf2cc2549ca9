"""Partial FC: the margin head whose class centres are split over ranks and sampled."""
