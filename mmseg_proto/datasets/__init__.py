"""Data sets: the embedded synthetic scenes, CamVid, ADE20K-full, and what goes around any."""

from mmseg_proto import _needs_host  # noqa: F401

from .ade20k_full import ADE20KFullDataset, LoadWideAnnotations
from .cached_dataset import CachedDataset
from .camvid import CamVidDataset
from .relabelled import UNKNOWN_LABEL, relabelled_dataset
from .synthetic_scenes import SyntheticScenes

__all__ = [
    "UNKNOWN_LABEL",
    "ADE20KFullDataset",
    "CachedDataset",
    "CamVidDataset",
    "LoadWideAnnotations",
    "SyntheticScenes",
    "relabelled_dataset",
]
