"""The replicated parameters as one vector: a few launches for all of them instead of some for each.

A GPU runs what it is given faster than Python can give it: a rule of six operations over 240
tensors takes 1,440 launches, over one vector six. The vector costs a float32 copy of the weights,
and the step another of the gradients. On a CPU the kernels of `plsc.optimizer.kernels` work tensor
by tensor, which is faster there.
"""

import itertools
from collections.abc import Callable, Collection

import numpy as np
import paddle
from paddle import Tensor, nn

from plsc.optimizer.dense import DenseParameters, Unit


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
    ):
        """Arrange the parameters.

        Args:
            layer: whose parameters they are.
            state_names: of the optimizer.
            frozen: names that are left out.
            kind_of: name -> what parameters must have in common to be one unit.

        """
        self._kind_of, self._vector = kind_of, None
        self._parts: dict[str, Tensor] = {}  # of the vector, by parameter
        super().__init__(layer, state_names=state_names, frozen=frozen)

    def _made_state(self, state_names: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
        self._order = sorted(self.weights, key=self._kind_of)  # stable: else the layer's order
        sizes = [self.weights[name].size for name in self._order]
        ends = itertools.accumulate(sizes, initial=0)
        self._place = dict(zip(self._order, itertools.pairwise(ends), strict=True))
        self._states = {key: paddle.zeros([sum(sizes)], "float32") for key in state_names}
        return {
            name: {key: self._part(vector, name) for key, vector in self._states.items()}
            for name in self.weights
        }

    def _part(self, vector: Tensor, name: str) -> Tensor:
        """Return a parameter's part of a vector, in its shape; it shares the vector's memory."""
        start, stop = self._place[name]
        return vector[start:stop].reshape(self.weights[name].shape)

    def units(self) -> list[Unit]:
        """Return a unit for each kind of parameters; for each parameter where one has no gradient.

        What took no part in a step is not touched, neither by momentum nor by decay.
        """
        gradients = self.gradients()
        if not gradients:  # as in a frozen network
            return []
        if self._vector is None:
            self._vector = _joined([self.weights[name].detach() for name in self._order])
            self._parts = {name: self._part(self._vector, name) for name in self._order}
        if len(gradients) < len(self._order):
            return [
                Unit((name,), self._parts[name], gradient, self.state[name])
                for name, gradient in gradients.items()
            ]
        joined = _joined([gradients[name] for name in self._order])
        return [
            self._unit(tuple(g), joined) for _, g in itertools.groupby(self._order, self._kind_of)
        ]

    def _unit(self, names: tuple[str, ...], gradient: Tensor) -> Unit:
        assert self._vector is not None
        where = slice(self._place[names[0]][0], self._place[names[-1]][1])
        state = {key: vector[where] for key, vector in self._states.items()}
        return Unit(names, self._vector[where], gradient[where], state)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """See DenseParameters. A part read by itself would come with a copy of its vector."""
        whole = {key: vector.numpy() for key, vector in self._states.items()}
        return {
            f"{key}/{name}": vector[slice(*self._place[name])].reshape(weight.shape)
            for name, weight in self.weights.items()
            for key, vector in whole.items()
        }

    def publish(self) -> None:
        """Assign the parts of the vector to the parameters."""
        for name, part in self._parts.items():
            paddle.assign(part, output=self.weights[name])


def _joined(tensors: list[Tensor]) -> Tensor:
    return paddle.concat([each if each.ndim == 1 else each.reshape([-1]) for each in tensors])
