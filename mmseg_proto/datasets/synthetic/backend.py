"""Scenes as files that are drawn when they are read.

MMEngine chooses a file backend by the prefix of a path. With one for ``synthetic://`` the ordinary
loading transforms, visualisation hooks and inferencers read scenes as they read files, and none has
to know.
"""

import re
from functools import lru_cache
from io import UnsupportedOperation
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.fileio import BaseStorageBackend, register_backend
from numpy.typing import NDArray

from .scene import MIN_SIDE, draw_scene

PREFIX = "synthetic"
SPLITS = ("train", "val")
_PATH = re.compile(
    r"synthetic://(?P<split>\w+)/seed(?P<seed>\d+)/(?P<height>\d+)x(?P<width>\d+)"
    r"/(?P<kind>images|labels)/(?P<number>\d+)\.png"
)


class SceneAddress(NamedTuple):
    """What decides every byte of a scene."""

    split: str
    seed: int
    height: int
    width: int
    number: int

    def path(self, kind: str) -> str:
        """The path under which MMEngine reads the scene: ``kind`` is 'images' or 'labels'."""
        folder = f"{PREFIX}://{self.split}/seed{self.seed}/{self.height}x{self.width}"
        return f"{folder}/{kind}/{self.number:06d}.png"

    def validate(self) -> None:
        """Check that there is a scene at this address.

        Raises:
            ValueError: If the split is unknown.
            ValueError: If a side is under 32 pixels.
        """
        if self.split not in SPLITS:
            raise ValueError(f"Expected `split` to be one of {SPLITS}, but got {self.split!r}.")
        if min(self.height, self.width) < MIN_SIDE:
            raise ValueError(
                f"Expected `size` to be at least {MIN_SIDE} pixels on each side, "
                f"but got {self.height}x{self.width}."
            )


@lru_cache(maxsize=1024)
def read_scene(address: SceneAddress) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the scene at an address, or recall it.

    Args:
        address: Split, seed, size and number of the scene.

    Returns:
        The RGB image (H, W, 3) and the label map (H, W), read-only: later readers share them.

    Raises:
        ValueError: If :meth:`SceneAddress.validate` finds fault with the address.
    """
    address.validate()
    # The split is part of the seed, so no scene can be in two splits.
    key = [address.seed, SPLITS.index(address.split), address.number]
    image, labels = draw_scene(address.height, address.width, np.random.default_rng(key))
    image.setflags(write=False)
    labels.setflags(write=False)
    return image, labels


@register_backend(PREFIX, prefixes=PREFIX)
class SyntheticSceneBackend(BaseStorageBackend):
    """Reads ``synthetic://SPLIT/seedN/HxW/images|labels/NNNNNN.png`` as the bytes of a PNG file."""

    def get(self, filepath: str) -> bytes:
        """Draw and encode the picture or the label map that a path names.

        Args:
            filepath: A path as :meth:`SceneAddress.path` makes it.

        Returns:
            The bytes of a PNG: colour for images, grey for labels (class ids, 255 is ignored).

        Raises:
            FileNotFoundError: If the path has another form.
        """
        match = _PATH.fullmatch(str(filepath))
        if match is None:
            raise FileNotFoundError(
                "Expected a path like synthetic://train/seed0/64x96/images/000000.png, "
                f"but got {filepath}."
            )
        numbers = (int(match[name]) for name in ("seed", "height", "width", "number"))
        image, labels = read_scene(SceneAddress(match["split"], *numbers))
        picture = image[..., ::-1] if match["kind"] == "images" else labels
        # OpenCV writes BGR.
        return bytes(cv2.imencode(".png", picture)[1])

    def get_text(self, filepath: str) -> str:
        """Refused: a scene has no text."""
        raise UnsupportedOperation(f"Expected to read {filepath} as bytes: a scene has no text.")
