"""Emulate O1's half precision on a CPU, where Paddle's autocast does nothing.

Inside `paddle.amp.auto_cast`, convolutions and matrix products, which O1's white list sends to half
precision, see inputs and weights rounded to it and give rounded outputs; so does BatchNorm, which
keeps its input's precision and computes in float32. A sum of two such outputs (a residual) is
rounded too. Backward rounds the gradients at the same places, which may overflow as they would on a
GPU.

It cannot show: the order in which a GPU adds (products are added in float32 here, as tensor cores
do it); other operators of neither list (PReLU with its float32 slopes gives float32; what pooling
or a reshape returns counts as float32 here); a kernel that a GPU lacks; the time anything takes.
"""

import contextlib

import paddle
from paddle import Tensor, nn
from paddle.nn import functional


class HalfPrecision:
    """Notes what autocast did.

    Attributes:
        dtype: of the autocast that is active, or None.
        calls: names of the operators that were rounded, in order.

    """

    def __init__(self) -> None:
        self.dtype: str | None = None
        self.calls: list[str] = []

    def rounded(self, tensor: Tensor | None) -> Tensor | None:
        """Return the float32 tensor rounded to the dtype; its gradient is rounded as well."""
        if tensor is None or tensor.dtype != paddle.float32:
            return tensor
        found = tensor.astype(self.dtype).astype("float32")
        found.is_half = True
        return found

    def operator(self, name, function):
        """Return `function`, of tensors, that rounds what goes in and out."""

        def call(*given, **options):
            if self.dtype is None:
                return function(*given, **options)
            self.calls.append(name)
            given = [self.rounded(each) if isinstance(each, Tensor) else each for each in given]
            return self.rounded(function(*given, **options))

        return call

    def sum(self, add):
        """Return `add`, of two tensors, that rounds the sum of two rounded ones."""

        def call(left, right):
            total = add(left, right)
            if self.dtype and all(getattr(each, "is_half", False) for each in (left, right)):
                self.calls.append("add")
                return self.rounded(total)
            return total

        return call

    @contextlib.contextmanager
    def auto_cast(self, *, level, dtype, custom_white_list=None, custom_black_list=None):
        """Stand where `paddle.amp.auto_cast` does."""
        assert level == "O1"
        self.dtype = dtype
        try:
            yield
        finally:
            self.dtype = None


def emulate(monkeypatch) -> HalfPrecision:
    """Let autocast round until the test ends."""
    half = HalfPrecision()
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")  # Paddle's operators, as on a GPU
    monkeypatch.setattr(paddle.amp, "auto_cast", half.auto_cast)
    monkeypatch.setattr(functional, "linear", half.operator("linear", functional.linear))
    monkeypatch.setattr(paddle, "matmul", half.operator("matmul", paddle.matmul))
    product = half.operator("matmul", Tensor.__matmul__)
    monkeypatch.setattr(Tensor, "__matmul__", lambda x, y: product(x, y))
    monkeypatch.setattr(Tensor, "__add__", half.sum(Tensor.__add__))
    convolve = half.operator("conv2d", functional.conv2d)
    forward = nn.Conv2D.forward

    def convolution(layer, x):
        if half.dtype is None or layer._groups > 1:  # depthwise: of neither list
            return forward(layer, x)
        geometry = layer._stride, layer._padding, layer._dilation, layer._groups
        return convolve(x, layer.weight, layer.bias, *geometry, layer._data_format)

    monkeypatch.setattr(nn.Conv2D, "forward", convolution)
    for kind in (nn.BatchNorm1D, nn.BatchNorm2D):
        normalise = kind.forward

        def normalised(layer, x, normalise=normalise):
            found = normalise(layer, x)
            return found if half.dtype is None else half.rounded(found)

        monkeypatch.setattr(kind, "forward", normalised)
    return half
