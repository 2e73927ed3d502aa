"""Procedurally drawn street scenes: looks, drawing, and reading them as files."""

from .backend import SPLITS, SceneAddress, SyntheticSceneBackend, read_scene
from .looks import CLASSES, LOOKS, PALETTE
from .scene import IGNORED, draw_scene

__all__ = [
    "CLASSES",
    "IGNORED",
    "LOOKS",
    "PALETTE",
    "SPLITS",
    "SceneAddress",
    "SyntheticSceneBackend",
    "draw_scene",
    "read_scene",
]
