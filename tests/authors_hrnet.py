"""The authors' HRNet-W48 with prototypes, as a plain forward pass over a dict of weights.

Written from their published architecture with functions of PyTorch alone: nothing of the host and
nothing of this package. Where the dict has no weight of a name, a random one is put there, so that
one pass makes the whole checkpoint.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (48, 96, 192, 384)
MODULES = {2: 1, 3: 4, 4: 3}


class AuthorsNet:
    """The model.

    Args:
        state: Weights by their names without ``module.``; grows where names are missing.
        classes: Number of classes.
        prototypes: Prototypes per class.
    """

    def __init__(self, state: dict[str, Tensor], classes: int = 19, prototypes: int = 10) -> None:
        self.state = state
        self.classes = classes
        self.prototypes = prototypes

    def __call__(self, image: Tensor) -> Tensor:
        """Logits ``(B, C, H/4, W/4)`` of normalised images ``(B, 3, H, W)``."""
        maps = self._backbone(image)
        size = maps[0].shape[2:]
        joined = torch.cat([maps[0], *(_resize(features, size) for features in maps[1:])], dim=1)
        x = F.relu(self._norm("cls_head.1.0", self._conv("cls_head.0", joined, 720, 3, bias=True)))
        x = F.relu(self._conv("proj_head.proj.0", x, 720, 1, bias=True))
        x = self._conv("proj_head.proj.2", x, 720, 1, bias=True)
        batch = len(x)
        pixels = _unit(x.permute(0, 2, 3, 1).reshape(-1, 720))
        pixels = _unit(self._layer_norm("feat_norm", pixels))
        bank = self._weight("prototypes", (self.classes, self.prototypes, 720))
        similarity = torch.einsum("nd,kmd->nmk", pixels, _unit(bank))
        scores = self._layer_norm("mask_norm", similarity.amax(dim=1))
        return scores.reshape(batch, *size, self.classes).permute(0, 3, 1, 2)

    def _backbone(self, x: Tensor) -> list[Tensor]:
        for i in (1, 2):
            x = self._conv(f"backbone.conv{i}", x, 64, 3, stride=2)
            x = F.relu(self._norm(f"backbone.bn{i}", x))
        for i in range(4):
            x = self._bottleneck(f"backbone.layer1.{i}", x)
        maps = [x]
        for stage, modules in MODULES.items():
            maps = self._transition(f"backbone.transition{stage - 1}", maps, stage)
            for i in range(modules):
                maps = self._module(f"backbone.stage{stage}.{i}", maps)
        return maps

    def _transition(self, name: str, maps: list[Tensor], branches: int) -> list[Tensor]:
        new = []
        for i in range(branches):
            if i < len(maps):
                x = maps[i]
                if x.shape[1] != WIDTHS[i]:
                    x = self._conv_norm(f"{name}.{i}", x, WIDTHS[i], 3)
                    x = F.relu(x)
            else:
                x = F.relu(self._conv_norm(f"{name}.{i}.0", maps[-1], WIDTHS[i], 3, stride=2))
            new.append(x)
        return new

    def _module(self, name: str, maps: list[Tensor]) -> list[Tensor]:
        for i in range(len(maps)):
            for block in range(4):
                maps[i] = self._basic(f"{name}.branches.{i}.{block}", maps[i])
        fused = []
        for i in range(len(maps)):
            total = torch.zeros_like(maps[i])
            for j in range(len(maps)):
                layer = f"{name}.fuse_layers.{i}.{j}"
                x = maps[j]
                if j > i:
                    x = _resize(self._conv_norm(layer, x, WIDTHS[i], 1), maps[i].shape[2:])
                for k in range(i - j):
                    last = k == i - j - 1
                    width = WIDTHS[i] if last else WIDTHS[j]
                    x = self._conv_norm(f"{layer}.{k}", x, width, 3, stride=2)
                    x = x if last else F.relu(x)
                total = total + x
            fused.append(F.relu(total))
        return fused

    def _basic(self, name: str, x: Tensor) -> Tensor:
        out = F.relu(self._norm(f"{name}.bn1", self._conv(f"{name}.conv1", x, x.shape[1], 3)))
        return F.relu(
            x + self._norm(f"{name}.bn2", self._conv(f"{name}.conv2", out, x.shape[1], 3))
        )

    def _bottleneck(self, name: str, x: Tensor) -> Tensor:
        out = F.relu(self._norm(f"{name}.bn1", self._conv(f"{name}.conv1", x, 64, 1)))
        out = F.relu(self._norm(f"{name}.bn2", self._conv(f"{name}.conv2", out, 64, 3)))
        out = self._norm(f"{name}.bn3", self._conv(f"{name}.conv3", out, 256, 1))
        if x.shape[1] != 256:
            x = self._conv_norm(f"{name}.downsample", x, 256, 1)
        return F.relu(x + out)

    def _conv_norm(self, name: str, x: Tensor, width: int, kernel: int, stride: int = 1) -> Tensor:
        return self._norm(f"{name}.1", self._conv(f"{name}.0", x, width, kernel, stride=stride))

    def _conv(
        self, name: str, x: Tensor, width: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> Tensor:
        weight = self._weight(f"{name}.weight", (width, x.shape[1], kernel, kernel))
        offset = self._weight(f"{name}.bias", (width,)) if bias else None
        return F.conv2d(x, weight, offset, stride=stride, padding=kernel // 2)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        width = (x.shape[1],)
        mean, weight, bias = (
            self._weight(f"{name}.{part}", width) for part in ("running_mean", "weight", "bias")
        )
        variance = self._weight(f"{name}.running_var", width)
        self.state.setdefault(f"{name}.num_batches_tracked", torch.tensor(80000))
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-5)

    def _layer_norm(self, name: str, x: Tensor) -> Tensor:
        width = (x.shape[-1],)
        weight, bias = (self._weight(f"{name}.{part}", width) for part in ("weight", "bias"))
        return F.layer_norm(x, width, weight, bias, eps=1e-5)

    def _weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in self.state:
            self.state[name] = _random(name, shape)
        assert self.state[name].shape == shape, name
        return self.state[name]


def _random(name: str, shape: tuple[int, ...]) -> Tensor:
    """Weights under which features neither vanish nor explode."""
    noise = torch.randn(shape, dtype=torch.float64)
    if name.endswith("running_var"):
        return noise.abs() + 0.5
    if len(shape) == 1:
        return 1 + 0.2 * noise if name.endswith("weight") else 0.1 * noise
    scale: float = noise[0].numel() ** 0.5
    return noise / scale


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return unit


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
