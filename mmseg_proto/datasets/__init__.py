"""Data sets: the embedded synthetic scenes, CamVid, and a cache around any."""

from .cached_dataset import CachedDataset
from .camvid import CamVidDataset
from .synthetic_scenes import SyntheticScenes

__all__ = ["CachedDataset", "CamVidDataset", "SyntheticScenes"]
