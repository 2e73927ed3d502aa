"""Pictures of the report: packed into data addresses, and what is known of each of their pixels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.ops import Territories, find_territories
from mmseg_proto.visualization.overlay import prototype_colours, strength, winner_overlay

from .feature_sample import pixels_of_images, whole_images
from .progress import map_with_progress

Picture = NDArray[np.uint8]
#: A picture is shown with at most so many pixels on its longer side.
_LONGEST = 640
_QUALITY = 80


@dataclass(frozen=True)
class AskedPicture:
    """A validation picture, and whose each pixel of its feature map is.

    Attributes:
        name: What it is called.
        image: The picture, RGB, ``(H, W, 3)``.
        found: Territories of the N = h * w pixels of the feature map.
        truth: Class of each, ``(N,)``; -1 where there is none.
        size: Rows h and columns w of the feature map.
    """

    name: str
    image: Picture
    found: Territories
    truth: torch.Tensor
    size: tuple[int, int]

    def prediction(self, places: int, palette: Sequence[Sequence[int]]) -> Picture:
        """Draw the predicted classes in the colours of the palette, RGB, ``(H, W, 3)``."""
        colours = np.array(palette, dtype=np.uint8)[(self.found.winner // places).numpy()]
        enlarged: Picture = self._enlarged(colours.reshape(*self.size, 3))
        return enlarged

    def overlay(self, places: int) -> Picture:
        """Draw which prototype wins each pixel, the stronger the nearer, RGB, ``(H, W, 3)``."""
        winners = (self.found.winner % places).numpy().reshape(self.size)
        strong = strength(self.found.cosine.numpy().reshape(self.size))
        return winner_overlay(
            self.image,
            self._enlarged(winners.astype(np.int32)),
            self._enlarged(strong.astype(np.float32)),
            prototype_colours(places),
        )

    def payload(self, places: int) -> dict[str, Any]:
        """Return plain data for the page: pictures, and what is known of each pixel."""
        rows, columns = self.size
        cosines = (self.found.cosine, self.found.rival_cosine)
        cosine, rival_cosine = ((1000 * part).round().int().tolist() for part in cosines)
        return {
            "name": self.name,
            "rows": rows,
            "columns": columns,
            "photo": data_address(self.image),
            "overlay": data_address(self.overlay(places)),
            "winner": self.found.winner.tolist(),
            "cosine": cosine,
            "rival": self.found.rival.tolist(),
            "rivalCosine": rival_cosine,
            "truth": self.truth.tolist(),
        }

    def _enlarged(self, values: Any) -> Any:
        height, width = self.image.shape[:2]
        return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)


def data_address(picture: Picture, longest: int | None = _LONGEST, quality: int = _QUALITY) -> str:
    """Pack a picture into an address that needs no file.

    Args:
        picture: RGB, shape ``(H, W, 3)``.
        longest: Pixels a side, to which a larger picture is shrunk; one that is much smaller is
            enlarged by whole pixels, which browsers would blur. None leaves it. Defaults to 640.
        quality: Of WebP, 1 to 100. Defaults to 80.

    Returns:
        str: ``data:image/webp;base64,...``
    """
    factor = longest / max(picture.shape[:2]) if longest else 1
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    elif factor >= 2:
        picture = picture.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, packed = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return address_of(packed.tobytes(), "webp")


def address_of(packed: bytes, kind: str) -> str:
    """Return the bytes of an image file of some kind, such as png, as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(packed).decode()}"


@torch.no_grad()
def ask_pictures(cfg: Config, model: Any, count: int) -> list[AskedPicture]:
    """Find whose each pixel of some validation pictures is.

    Args:
        cfg: Config of the model.
        model: The segmentor with a `ProtoDecodeHead`, in evaluation mode.
        count: Pictures, spread evenly over the data set; fewer where there are not so many.

    Returns:
        list[AskedPicture]: The pictures.
    """
    bank = last_head(model).prototype_classifier.bank
    dataset = whole_images(cfg, cfg.val_dataloader.dataset)
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=int).tolist()
    samples = list(map_with_progress(dataset.__getitem__, chosen, 1, "Validation pictures"))
    asked = []
    for sample, (embeddings, labels, size) in zip(
        samples, pixels_of_images(model, samples), strict=True
    ):
        found = find_territories(
            embeddings, bank.directions, bank.alive_mask, labels.to(embeddings.device)
        )
        labels = torch.where((labels >= 0) & (labels < len(bank.alive_mask)), labels, -1)
        # The host loads BGR.
        image = np.ascontiguousarray(sample["inputs"].flip(0).permute(1, 2, 0).numpy())
        name = Path(sample["data_samples"].img_path).stem
        found = Territories(*(part.cpu() for part in found))
        asked.append(AskedPicture(name, image, found, labels, size))
    return asked
