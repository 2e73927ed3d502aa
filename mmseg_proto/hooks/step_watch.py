"""Whether the optimiser made a step, or a gradient scaler skipped it."""

from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class StepWatch:
    """Watches the optimiser of a wrapper.

    A scaler that finds an infinite gradient does not call the optimiser at all, or, where the
    optimiser is fused, lets it skip the step by itself and lowers its scale.
    """

    def __init__(self) -> None:
        self._wrapper: Any = None
        self._handle: RemovableHandle | None = None
        self._stepped = False
        self._scale: float | None = None

    def attach(self, optim_wrapper: Any) -> None:
        """Begin to watch.

        Args:
            optim_wrapper: The runner's. Of one that hides its optimiser, as those of some
                strategies do, the scale alone is watched.
        """
        self.detach()
        self._wrapper = optim_wrapper
        optimizer = getattr(optim_wrapper, "optimizer", None)
        if isinstance(optimizer, Optimizer):
            self._handle = optimizer.register_step_post_hook(self._note)

    def detach(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = None

    def begin(self) -> None:
        """Forget the step before."""
        self._stepped = False
        self._scale = self._loss_scale()

    def made(self) -> bool:
        """Return whether there was a step since `begin`."""
        before, after = self._scale, self._loss_scale()
        lowered = before is not None and after is not None and after < before
        return not lowered and (self._stepped or self._handle is None)

    def _note(self, *_: Any) -> None:
        self._stepped = True

    def _loss_scale(self) -> float | None:
        scaler = getattr(self._wrapper, "loss_scaler", None)
        return float(scaler.get_scale()) if scaler is not None and scaler.is_enabled() else None
