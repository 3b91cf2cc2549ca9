"""The replicated parameters as one vector: a few launches for all of them instead of some for each.

A GPU runs what it is given faster than Python can give it: a rule of six operations over 240
tensors takes 1,440 launches, over one vector six. The vector costs a float32 copy of the weights,
and the step another of the gradients. On a CPU the kernels of `plsc.optimizer.kernels` work tensor
by tensor, which is faster there.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from plsc.optimizer.dense import DenseParameters, Unit

BLOCK = 1024  # values whose squares are added up together, where each parameter's norm is wanted


@dataclass(frozen=True)
class JointUnit(Unit):
    """Several parameters, side by side.

    Attributes:
        blocks: how many blocks of `BLOCK` values each has; empty where the norm of all will do.

    """

    blocks: Sequence[int] = ()

    def square(self) -> Tensor:
        """See Unit; [n] sums of blocks, which the host adds up in float64 and in order."""
        square = paddle.square(self.gradient)
        return square.reshape([-1, BLOCK]).sum(axis=1) if self.blocks else square.sum()

    def squares(self, read: Any) -> dict[str, float]:
        """See Unit."""
        if not self.blocks:
            return super().squares(read)
        starts = np.cumsum([0, *self.blocks[:-1]])
        sums = np.add.reduceat(np.atleast_1d(np.asarray(read, np.float64)), starts)
        return dict(zip(self.names, sums.tolist(), strict=True))

    def _scaled(self, factors: Sequence[float]) -> tuple[Tensor, float]:
        if len(set(factors)) == 1:
            return self.gradient, factors[0]
        column = np.repeat(np.asarray(factors, np.float32), self.blocks).reshape(-1, 1)
        scaled = self.gradient.reshape([-1, BLOCK]) * paddle.to_tensor(column)
        return scaled.reshape([-1]), 1.0


class FlatParameters(DenseParameters):
    """Trainable parameters of `layer`, of which those that are treated alike lie side by side.

    The vector of weights is made at the first step, so whatever was loaded before is in it. Rules
    change the vector, whose parts are then assigned to the parameters, one launch each. The state
    of the optimizer is one vector, too; `state` has its parts, as checkpoints keep them.
    """

    def __init__(
        self,
        layer: nn.Layer,
        *,
        state_names: Collection[str],
        frozen: Collection[str],
        kind_of: Callable[[str], tuple[bool, bool]],
        by_tensor: bool = False,
    ):
        """Arrange the parameters.

        Args:
            layer: whose parameters they are.
            state_names: of the optimizer.
            frozen: names that are left out.
            kind_of: name -> what parameters must have in common to be one unit.
            by_tensor: whether each parameter's own norm is wanted; then each begins a new block,
                and zeros that stay zeros fill the last block of the one before.

        """
        self._kind_of, self._vector = kind_of, None
        self._block = BLOCK if by_tensor else 1
        self._parts: dict[str, Tensor] = {}  # of the vector, by parameter
        super().__init__(layer, state_names=state_names, frozen=frozen)

    def _made_state(self, state_names: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
        self._order = sorted(self.weights, key=self._kind_of)  # stable: else the layer's order
        self._place: dict[str, slice] = {}
        self._padding: dict[str, Tensor] = {}  # zeros behind a parameter, to the end of its block
        end = 0
        for name in self._order:
            size = self.weights[name].size
            self._place[name] = slice(end, end + size)
            if missing := -size % self._block:
                self._padding[name] = paddle.zeros([missing], "float32")
            end += size + missing
        self._states = {key: paddle.zeros([end], "float32") for key in state_names}
        return {
            name: {key: self._part(vector, name) for key, vector in self._states.items()}
            for name in self.weights
        }

    def _joined(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the vector of tensors that are given by parameter."""
        pieces = []
        for name in self._order:
            tensor = tensors[name]
            pieces.append(tensor if tensor.ndim == 1 else tensor.reshape([-1]))
            if name in self._padding:
                pieces.append(self._padding[name])
        return paddle.concat(pieces)

    def _part(self, vector: Tensor, name: str) -> Tensor:
        """Return a parameter's part of a vector, in its shape; it shares the vector's memory."""
        return vector[self._place[name]].reshape(self.weights[name].shape)

    def units(self) -> list[Unit]:
        """Return a unit for each kind of parameters; for each parameter where one has no gradient.

        What took no part in a step is not touched, neither by momentum nor by decay.
        """
        gradients = self.gradients()
        if not gradients:  # as in a frozen network
            return []
        if self._vector is None:
            self._vector = self._joined({n: weight.detach() for n, weight in self.weights.items()})
            self._parts = {name: self._part(self._vector, name) for name in self._order}
        if len(gradients) < len(self._order):
            return [
                Unit((name,), self._parts[name], gradient, self.state[name])
                for name, gradient in gradients.items()
            ]
        joined = self._joined(gradients)
        return [
            self._unit(tuple(g), joined) for _, g in itertools.groupby(self._order, self._kind_of)
        ]

    def _unit(self, names: tuple[str, ...], gradient: Tensor) -> Unit:
        assert self._vector is not None
        sizes = [self.weights[name].size for name in names] if self._block > 1 else []
        blocks = [-(-size // BLOCK) for size in sizes]
        start, stop = self._place[names[0]].start, self._place[names[-1]].stop
        where = slice(start, stop + -stop % self._block)
        state = {key: vector[where] for key, vector in self._states.items()}
        return JointUnit(names, self._vector[where], gradient[where], state, blocks)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """See DenseParameters. A part read by itself would come with a copy of its vector."""
        whole = {key: vector.numpy() for key, vector in self._states.items()}
        return {
            f"{key}/{name}": vector[self._place[name]].reshape(weight.shape)
            for name, weight in self.weights.items()
            for key, vector in whole.items()
        }

    def publish(self) -> None:
        """Assign the parts of the vector to the parameters."""
        for name, part in self._parts.items():
            paddle.assign(part, output=self.weights[name])
