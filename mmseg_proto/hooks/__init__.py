"""Hooks that decide when prototypes start, move and are reported."""

from .prototype_update_hook import PrototypeUpdateHook

__all__ = ["PrototypeUpdateHook"]
