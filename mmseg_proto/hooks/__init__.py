"""Hooks that decide when prototypes start, move and are reported, and that save runs safely."""

from mmseg_proto import _needs_host  # noqa: F401

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .prototype_update_hook import PrototypeUpdateHook
from .prototype_visualization_hook import PrototypeVisualizationHook
from .random_state_hook import RandomStateHook

__all__ = [
    "AtomicCheckpointHook",
    "PrototypeUpdateHook",
    "PrototypeVisualizationHook",
    "RandomStateHook",
]
