"""Ask which device computes, in one place."""

import paddle


def on_cpu() -> bool:
    """Return true if the CPU is the current device, whose memory numpy can share."""
    return paddle.get_device() == "cpu"


def on_gpu() -> bool:
    """Return true if a GPU is the current device."""
    return paddle.get_device().startswith("gpu")


def num_gpus() -> int:
    """Return the number of visible GPUs; 0 if Paddle is built for CPUs only."""
    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
