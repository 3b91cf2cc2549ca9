"""Give plsc a GPU's answers on a CPU: a plug-in, after which its every branch is a GPU's.

Tensors stay on the CPU, and Paddle itself, which asks the same functions, is told the truth. So
each line that a GPU runs is run; how fast it is there, and whether all kernels exist, only a GPU
tells.
"""

import os
import sys
from types import SimpleNamespace

import paddle

HOST = paddle.CPUPlace()


def answer(owner, name, value):
    """Let `owner.name` give what `value` returns, if plsc asks."""
    original = getattr(owner, name)

    def call(*arguments, **options):
        asker = sys._getframe(1).f_globals["__name__"]
        return (value if asker.startswith("plsc.") else original)(*arguments, **options)

    setattr(owner, name, call)


os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # where a GPU has NCCL
for module in (paddle, paddle.device):
    answer(module, "get_device", lambda: "gpu:0")
    answer(module, "set_device", lambda name: None)
answer(paddle, "is_compiled_with_cuda", lambda: True)
answer(paddle, "CUDAPinnedPlace", lambda: HOST)
answer(paddle.Tensor, "cuda", lambda tensor, device_id=None, blocking=True: tensor.clone())
answer(paddle.device.cuda, "device_count", lambda: 1)
answer(paddle.device.cuda, "max_memory_allocated", lambda: 2**30)
answer(paddle.device.cuda, "get_device_properties", lambda: SimpleNamespace(total_memory=2**40))
