from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A folder like CamVid's train split with two noisy frames of each sequence."""
    root = tmp_path / "camvid"
    random = np.random.default_rng(0)
    for folder in ("train", "trainannot"):
        (root / folder).mkdir(parents=True)
    for sequence in ("0001TP", "0006R0", "0016E5"):
        for frame in ("00001", "00002"):
            image = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            labels = random.integers(0, 12, (6, 8), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
            Image.fromarray(image).save(root / "train" / f"{sequence}_{frame}.png")
            Image.fromarray(labels).save(root / "trainannot" / f"{sequence}_{frame}.png")
    return root
