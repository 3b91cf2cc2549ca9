"""Emulate O1's half precision on a CPU, where Paddle's autocast does nothing.

Convolutions and matrix products, which O1's white list sends to half precision, see inputs and
weights rounded to it and give rounded outputs; backward rounds the gradients at the same places.

It cannot show: the order in which a GPU adds (products are added in float32 here, as tensor cores
do it); operators of neither list, which a GPU computes in half precision between two of the white
list and which stay in float32 here; a kernel that a GPU lacks; the time that anything takes.
FaceViT's attention takes its products elsewhere and is not rounded yet.
"""

import paddle
from paddle import Tensor, nn
from paddle.nn import functional


def rounded(tensor: Tensor, dtype: str = "float16") -> Tensor:
    """Return the float32 tensor rounded to `dtype`; its gradient is rounded as well."""
    return tensor.astype(dtype).astype("float32") if tensor.dtype == paddle.float32 else tensor


def emulate(monkeypatch, dtype: str = "float16") -> list[str]:
    """Round at each convolution and product until the test ends; return the list of their calls."""
    calls: list[str] = []
    linear, matmul, conv2d = functional.linear, paddle.matmul, functional.conv2d

    def halved(tensor):
        return rounded(tensor, dtype)

    def linear_in_half(x, weight, bias=None, name=None):
        calls.append("linear")
        bias = None if bias is None else halved(bias)
        return halved(linear(halved(x), halved(weight), bias))

    def matmul_in_half(x, y, *arguments, **options):
        calls.append("matmul")
        return halved(matmul(halved(x), halved(y), *arguments, **options))

    def conv_in_half(layer, x):
        calls.append("conv2d")
        bias = None if layer.bias is None else halved(layer.bias)
        geometry = layer._stride, layer._padding, layer._dilation, layer._groups
        return halved(conv2d(halved(x), halved(layer.weight), bias, *geometry, layer._data_format))

    monkeypatch.setenv("PLSC_STOCK_CPU", "1")  # Paddle's operators, as on a GPU
    monkeypatch.setattr(functional, "linear", linear_in_half)
    monkeypatch.setattr(paddle, "matmul", matmul_in_half)
    monkeypatch.setattr(nn.Conv2D, "forward", conv_in_half)
    return calls
