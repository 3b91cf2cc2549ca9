"""CPU kernels where Paddle's own are slow, compiled with numba."""
