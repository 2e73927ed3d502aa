"""Data sets: the embedded synthetic scenes, and CamVid."""

from .camvid import CamVidDataset
from .synthetic_scenes import SyntheticScenes

__all__ = ["CamVidDataset", "SyntheticScenes"]
