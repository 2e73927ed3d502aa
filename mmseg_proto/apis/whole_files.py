"""Files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a draft to write, which takes the place of a file once it is done.

    Args:
        path: The file. It stays as it is if the block raises an error.

    Yields:
        Path: The draft beside it.
    """
    draft = path.with_name(f"{path.name}.part")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Writes plain data as JSON, whole or not at all.

    Args:
        path: The file. Overwritten if it is there.
        data: What `json.dumps` takes.
    """
    with written_whole(path) as draft:
        draft.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a picture as PNG, whole or not at all.

    Args:
        path: The file. Overwritten if it is there.
        picture: RGB, shape ``(H, W, 3)``.
    """
    bgr = np.ascontiguousarray(picture[..., ::-1])
    with written_whole(path) as draft:
        draft.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())


def expect_new_file(path: Path, *, force: bool) -> None:
    """Refuses to overwrite a file, unless it may be.

    Args:
        path: The file.
        force: Whether it may be there.

    Raises:
        FileExistsError: If it is there.
    """
    if path.exists() and not force:
        raise FileExistsError(
            f"Expected a new file, but {path} is there. Overwrite it with --force."
        )
