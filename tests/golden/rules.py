"""The inputs behind the golden numbers: made by rule, so that only outputs are stored.

`make_authors_numbers` gives them to the authors' own code, tests give them to ours.
"""

import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

HERE = Path(__file__).parent
COMMIT = "1c4a778"
Floats = NDArray[np.float64]

#: Seed, batch, height and width of the images of `authors_logits.npz`. The first three came with
#: the issue that asked for these numbers, the others have sizes and batches of their own.
LOGITS = ((1, 2, 64, 64), (2, 2, 65, 97), (3, 2, 61, 83), (4, 1, 49, 131), (5, 3, 67, 45))
#: The same for the softmax baseline, in `authors_softmax.npz`.
SOFTMAX = ((6, 1, 64, 96), (7, 2, 49, 67))
#: Height, width and seed of the picture of `authors_labels.npz`.
PICTURE = (64, 96, 0)

CLASSES, PROTOTYPES, WIDTH = 19, 10, 720


def case_name(seed: int, batch: int, height: int, width: int) -> str:
    """Name of an array of logits, as in the numbers that came with the issue."""
    return f"{seed}_{height}x{width}" if batch == 2 else f"{seed}_{batch}x{height}x{width}"


def image(seed: int, batch: int, height: int, width: int) -> Tensor:
    """A normalised image, shape ``(batch, 3, height, width)``, float64."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((batch, 3, height, width)))


def picture() -> NDArray[np.uint8]:
    """Colours as a file holds them, blue first, shape ``(height, width, 3)``: waves and noise."""
    height, width, seed = PICTURE
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x / (5 + 4 * channel) + channel) + np.cos(y / (7 - channel) - channel)
        for channel in range(3)
    ]
    colours = 127 + 50 * np.stack(waves, axis=2) + 15 * random.standard_normal((height, width, 3))
    return colours.clip(0, 255).astype(np.uint8)


def released_weights(backbone: nn.Module) -> dict[str, Tensor]:
    """The weights of a file as the authors save it, made by rule, fp32.

    Args:
        backbone: An HRNet-W48, whose names and shapes are the authors'; not its weights.
    """
    shapes: dict[str, tuple[int, ...]] = {
        f"module.backbone.{key}": tuple(value.shape) for key, value in backbone.state_dict().items()
    }
    shapes["module.cls_head.0.weight"] = (WIDTH, WIDTH, 3, 3)
    shapes["module.cls_head.0.bias"] = (WIDTH,)
    for name in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"module.cls_head.1.0.{name}"] = (WIDTH,)
    shapes["module.cls_head.1.0.num_batches_tracked"] = ()
    shapes["module.prototypes"] = (CLASSES, PROTOTYPES, WIDTH)
    for layer in (0, 2):
        shapes[f"module.proj_head.proj.{layer}.weight"] = (WIDTH, WIDTH, 1, 1)
        shapes[f"module.proj_head.proj.{layer}.bias"] = (WIDTH,)
    for norm, width in (("feat_norm", WIDTH), ("mask_norm", CLASSES)):
        shapes[f"module.{norm}.weight"] = shapes[f"module.{norm}.bias"] = (width,)
    weights = {key: _filled(key, shape) for key, shape in shapes.items()}
    # Their projection has two names, and stands in the file under both.
    for key in list(weights):
        if ".proj_head.proj." in key:
            weights[key.replace(".proj.", ".mlp2.")] = weights[key]
    return weights


def softmax_weights(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same of their softmax baseline.

    Args:
        released: Those of the network with prototypes.
    """
    shared = ("module.backbone.", "module.cls_head.")
    weights = {key: value for key, value in released.items() if key.startswith(shared)}
    # Joined features are about 1e10 large under these weights, beside which no bias would count.
    weights["module.cls_head.0.weight"] = 1e-10 * weights["module.cls_head.0.weight"]
    weights["module.cls_head.3.weight"] = _filled(
        "module.cls_head.3.weight", (CLASSES, WIDTH, 1, 1)
    )
    return weights


def _filled(key: str, shape: tuple[int, ...]) -> Tensor:
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(80000)
    values: Any
    if key.endswith("running_var"):
        values = 0.5 + random.random_sample(shape)
    elif key.endswith("running_mean"):
        values = 0.2 * random.standard_normal(shape)
    elif key.endswith("prototypes"):
        values = 0.03 * random.standard_normal(shape)
    elif key.endswith("bias"):
        values = 0.3 * random.standard_normal(shape)
    elif len(shape) == 1:
        values = 0.6 + 0.8 * random.random_sample(shape)
    else:
        values = math.sqrt(2 / math.prod(shape[1:])) * random.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


class Step(NamedTuple):
    """Pixels of one training step.

    Attributes:
        embeddings: Unit length over channels, shape ``(B, D, H, W)``, float64.
        labels: Shape ``(B, H, W)``, int64; -1 for ignored pixels.
        noise: Standard Gumbel noise of each pixel and prototype, shape ``(B*H*W, K)``, float64.
    """

    embeddings: Tensor
    labels: Tensor
    noise: Tensor


#: Classes, prototypes and channels of the training steps, and the maps' batch, height and width.
STEP_SHAPE = (5, 10, 16)
STEP_MAP = (2, 12, 16)
STEPS = 20
#: A class of which no pixel is ever right, and one with fewer pixels than prototypes.
NEVER_RIGHT, FEW = 3, 4
#: Class weights of the cross-entropy of a step.
CLASS_WEIGHTS = (0.8, 1.1, 1.0, 1.3, 0.9)


def larger(labels: Tensor) -> Tensor:
    """Label maps ``(B, H, W)`` at twice their size."""
    return labels.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def start() -> Tensor:
    """Unit prototypes before the first step, shape ``(C, K, D)``, float64."""
    random = np.random.RandomState(100)
    classes, places, channels = STEP_SHAPE
    centres = _centres()
    return _unit(centres[:, None] + 0.6 * random.standard_normal((classes, places, channels)))


def score_norm() -> tuple[Tensor, Tensor]:
    """Weight and bias of the LayerNorm over class scores, shape ``(C,)``, float64."""
    random = np.random.RandomState(101)
    weight = 1 + 0.3 * random.random_sample(STEP_SHAPE[0])
    return torch.from_numpy(weight), torch.from_numpy(0.05 * random.standard_normal(STEP_SHAPE[0]))


def training_step(number: int, *, ignored: bool = True) -> Step:
    """Make the pixels of a step, 0 to `STEPS` - 1.

    Args:
        number: Number of the step.
        ignored: Whether a tenth of the pixels is ignored.
    """
    random = np.random.RandomState(200 + number)
    classes, places, channels = STEP_SHAPE
    pixels = math.prod(STEP_MAP)
    labels = random.choice(classes - 1, size=pixels, p=(0.4, 0.3, 0.2, 0.1))
    if number % 5 == 3:
        labels[labels == 2] = 0  # an absent class
    labels[random.permutation(pixels)[: 3 + number % 5]] = FEW
    # Pixels of the class that is never right look like those of class 0.
    looks = np.where(labels == NEVER_RIGHT, 0, labels)
    embeddings = _unit(_centres()[looks] + 0.7 * random.standard_normal((pixels, channels)))
    hidden = random.random_sample(pixels) < 0.1
    if ignored:
        labels[hidden] = -1
    noise = -np.log(random.standard_exponential((pixels, places)))
    batch, height, width = STEP_MAP
    return Step(
        embeddings.view(batch, height, width, channels).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(labels.astype(np.int64)).view(STEP_MAP),
        torch.from_numpy(noise),
    )


def cosines(pixels: int) -> Tensor:
    """Cosines of the pixels of one class with its 10 prototypes, shape ``(pixels, 10)``."""
    random = np.random.RandomState(300 + pixels)
    embeddings, prototypes = (
        _unit(random.standard_normal((rows, 8)) + 0.5) for rows in (pixels, PROTOTYPES)
    )
    return embeddings @ prototypes.t()


#: Numbers of pixels whose plans are stored; 6 are fewer than there are prototypes.
PLANS = (6, 11, 100, 2000)
#: The plan of how many pixels is drawn from, and how often.
DRAWN, DRAWS = 11, 20_000


def loss_problem() -> tuple[Tensor, Tensor]:
    """Cosines ``(N, C*K)`` and targets ``(N,)`` with ignored pixels, for PPC and PPD."""
    random = np.random.RandomState(400)
    logits = 2 * random.random_sample((200, 40)) - 1
    targets = random.randint(0, 40, 200)
    targets[random.random_sample(200) < 0.3] = -1
    return torch.from_numpy(logits), torch.from_numpy(targets.astype(np.int64))


def _centres() -> Floats:
    centres = np.random.RandomState(99).standard_normal((STEP_SHAPE[0], STEP_SHAPE[2]))
    return np.asarray(centres / np.linalg.norm(centres, axis=1, keepdims=True) * 3)


def _unit(values: Floats) -> Tensor:
    return torch.from_numpy(values / np.linalg.norm(values, axis=-1, keepdims=True))
