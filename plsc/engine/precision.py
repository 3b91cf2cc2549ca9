"""Mixed precision in one place: where autocast applies, the loss scale, what an overflow does."""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

import paddle


@dataclass
class LossScaler:
    """Dynamic loss scaling as a state machine: `update(overflow)` after every step.

    The scale is multiplied by `decr_ratio` after `decr_every_n_nan_or_inf` overflows in a row and
    by `incr_ratio` after `incr_every_n_steps` good steps in a row, up to `max_loss_scaling`.
    """

    enabled: bool = True
    scale: float = 27648.0
    incr_ratio: float = 2.0
    decr_ratio: float = 0.5
    incr_every_n_steps: int = 1000
    decr_every_n_nan_or_inf: int = 2
    max_loss_scaling: float = 2.0**32
    dynamic: bool = True
    good_steps: int = 0
    bad_steps: int = 0

    def __post_init__(self) -> None:
        if not self.enabled:
            self.scale = 1.0

    def update(self, overflow: bool) -> None:
        """Count a step that overflowed (and was skipped), or one that did not."""
        if not (self.enabled and self.dynamic):
            return
        if overflow:
            self.good_steps, self.bad_steps = 0, self.bad_steps + 1
            if self.bad_steps >= self.decr_every_n_nan_or_inf:
                self.scale, self.bad_steps = max(self.scale * self.decr_ratio, 1.0), 0
        else:
            self.good_steps, self.bad_steps = self.good_steps + 1, 0
            if self.good_steps >= self.incr_every_n_steps:
                self.scale = min(self.scale * self.incr_ratio, self.max_loss_scaling)
                self.good_steps = 0

    def state(self) -> dict:
        """Return what a checkpoint keeps."""
        return {key: asdict(self)[key] for key in ("enabled", "scale", "good_steps", "bad_steps")}

    def restore(self, state: dict) -> None:
        """Go on from `state`, unless it was saved without scaling or this run has none."""
        if self.enabled and state.get("enabled"):
            self.scale = float(state["scale"])
            self.good_steps, self.bad_steps = int(state["good_steps"]), int(state["bad_steps"])


class Precision:
    """The backbone's precision: float32, or O1 autocast to float16 or bfloat16 on a GPU.

    `paddle.amp.auto_cast` does nothing on CPU, so there the precision in effect is float32 and
    `effective` says so. The head always computes in float32.
    """

    def __init__(
        self,
        *,
        level: str = "O0",
        dtype: str = "float16",
        device: str = "cpu",
        white_list: Sequence[str] | None = None,
        black_list: Sequence[str] | None = None,
        scaler: LossScaler | None = None,
    ):
        self._autocast = level == "O1" and device != "cpu"
        self._dtype = dtype
        self._lists = (white_list or None, black_list or None)
        self.scaler = scaler or LossScaler()
        if not (self._autocast and dtype == "float16"):
            self.scaler.enabled, self.scaler.scale = False, 1.0
        if self._autocast:
            self.effective = f"{dtype} (O1), head float32"
        else:
            self.effective = "float32" + (" (O1 has no effect on CPU)" if level == "O1" else "")

    def autocast(self) -> AbstractContextManager:
        """Return the context for the backbone's forward pass."""
        if not self._autocast:
            return contextlib.nullcontext()
        white, black = self._lists
        return paddle.amp.auto_cast(
            custom_white_list=white, custom_black_list=black, level="O1", dtype=self._dtype
        )
