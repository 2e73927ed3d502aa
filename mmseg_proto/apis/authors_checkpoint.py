"""Converts the HRNet-W48 that the authors of the paper released (tfzhou/ProtoSeg).

Names and layers are those of its commit 1c4a778, of the network with prototypes and of its softmax
baseline.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_proto.hooks.checkpoint_files import load_weights

from .whole_files import written_whole

_HEAD = "decode_head."
_CLASSIFIER = f"{_HEAD}prototype_classifier."
# Theirs to ours; longer prefixes first.
_PREFIXES = {
    "backbone.": "backbone.",
    "cls_head.0.": f"{_HEAD}convs.0.conv.",
    "cls_head.1.0.": f"{_HEAD}convs.0.bn.",
    "cls_head.3.": f"{_HEAD}conv_seg.",
    "proj_head.proj.": f"{_CLASSIFIER}embedding.projection.",
    "proj_head.mlp2.": f"{_CLASSIFIER}embedding.projection.",
    "feat_norm.": f"{_CLASSIFIER}embedding.norm.",
    "mask_norm.": f"{_CLASSIFIER}score_scale.norm.",
}
_CONV_BIAS = f"{_HEAD}convs.0.conv.bias"
_NORM_MEAN = f"{_HEAD}convs.0.bn.running_mean"
_SOFTMAX = "cls_head.3.weight"
#: Configs of the network with prototypes, and of the softmax baseline.
_CONFIGS = (
    "proto_hrnet_w48_authors_cityscapes.py",
    "softmax_hrnet_w48_authors_cityscapes.py",
)
# Their prototypes have moved long since: a running mean must not start anew.
_UPDATES = 10_000.0


class Converted(NamedTuple):
    """A checkpoint of ours and the config that it belongs to.

    Attributes:
        config: Config with the checkpoint's numbers of classes and prototypes.
        state: State dict of the model.
        notes: What was done beyond renaming, one line each.
    """

    config: Config
    state: dict[str, Tensor]
    notes: list[str]


def convert_authors_checkpoint(checkpoint: Path, configs: Path) -> Converted:
    """Turns a released checkpoint into one of ours that gives the same logits.

    Args:
        checkpoint: Their file, with keys ``module.backbone.*`` and ``module.cls_head.*``; with
            ``module.proj_head.*``, ``module.prototypes``, ``module.feat_norm.*`` and
            ``module.mask_norm.*`` it is the network with prototypes, with
            ``module.cls_head.3.weight`` the softmax baseline.
        configs: Folder of the configs of this package.

    Returns:
        Converted: Config, weights and notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another checkpoint; nothing is converted in part.
    """
    loaded = load_weights(checkpoint)
    theirs = _own_keys(loaded.get("state_dict", loaded))
    softmax = _SOFTMAX in theirs and "prototypes" not in theirs
    config = Config.fromfile(configs / _CONFIGS[softmax])
    # The weights are in the checkpoint.
    config.model.pretrained = None
    notes: list[str] = []
    if softmax:
        classes = len(theirs[_SOFTMAX])
        state = _rename(theirs)
        state[f"{_HEAD}conv_seg.bias"] = theirs[_SOFTMAX].new_zeros(classes)
        notes.append("the bias of the last convolution is 0, since theirs has none")
    else:
        prototypes = theirs.pop("prototypes", None)
        if prototypes is None or prototypes.ndim != 3:
            raise ValueError(
                f"Expected {checkpoint} to hold `prototypes` of three dimensions or `{_SOFTMAX}`, "
                "as the authors' HRNet-W48 with prototypes and its softmax baseline do, but found "
                f"keys such as {sorted(theirs)[:4]}."
            )
        classes = len(prototypes)
        state = {**_rename(theirs), **_bank(prototypes)}
        config.model.decode_head.num_prototypes = prototypes.shape[1]
    _fold_bias(state, notes)
    if classes != config.model.decode_head.num_classes:
        config.model.decode_head.num_classes = classes
        # The weights of Cityscapes' classes, of which there are 19.
        config.model.decode_head.loss_decode.class_weight = None
        notes.append(f"{classes} classes: the data set of the config, Cityscapes, has 19")
    _check_fit(config, state, checkpoint)
    return Converted(config, state, notes)


def output_paths(stem: Path, *, force: bool = False) -> tuple[Path, Path]:
    """Names the files to write.

    Args:
        stem: Path without suffix.
        force: Whether files may be overwritten. Defaults to False.

    Returns:
        tuple[Path, Path]: Config and checkpoint.

    Raises:
        FileExistsError: If one of them is there and `force` is not set.
    """
    paths = stem.with_name(f"{stem.name}.py"), stem.with_name(f"{stem.name}.pth")
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise FileExistsError(
            f"Expected not to overwrite anything, but {' and '.join(there)} exists. Use --force."
        )
    return paths


def write_converted(converted: Converted, paths: tuple[Path, Path]) -> None:
    """Writes config and checkpoint, both or none.

    Args:
        converted: What to write.
        paths: Where to, from `output_paths`.
    """
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with written_whole(paths[0]) as config, written_whole(paths[1]) as checkpoint:
        config.write_text(converted.config.pretty_text, encoding="utf-8")
        torch.save({"meta": {}, "state_dict": converted.state}, checkpoint)


def _own_keys(state: Any) -> dict[str, Tensor]:
    """Their keys without the `module.` of DataParallel."""
    if not isinstance(state, Mapping):
        return {}
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _rename(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, value in theirs.items():
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), None)
        # What is known to nobody is left for the check against the model to name.
        ours = key if prefix is None else _PREFIXES[prefix] + key.removeprefix(prefix)
        # The projection has two names in their code, and may stand in the file under both.
        if ours in state and not torch.equal(state[ours], value):
            raise ValueError(
                f"Expected the two copies of the projection to be equal, but {key} differs."
            )
        state[ours] = value
    return state


def _fold_bias(state: dict[str, Tensor], notes: list[str]) -> None:
    """Their convolution before a norm has a bias; the host's has none, and the norm takes it off.

    ``(W x + b - mean) / std = (W x - (mean - b)) / std``; in training the norm's own mean holds b.
    """
    bias = state.pop(_CONV_BIAS, None)
    if bias is not None and _NORM_MEAN in state:
        state[_NORM_MEAN] = state[_NORM_MEAN] - bias
        notes.append("the bias of the 3x3 convolution is in the running mean of its norm")


def _bank(prototypes: Tensor) -> dict[str, Tensor]:
    classes, per_class, _ = prototypes.shape
    ones = torch.ones(classes, per_class)
    return {
        f"{_CLASSIFIER}bank.prototypes": F.normalize(prototypes, dim=-1),
        f"{_CLASSIFIER}bank.alive": ones,
        f"{_CLASSIFIER}bank.updates": ones * _UPDATES,
        f"{_CLASSIFIER}bank.usage": ones / per_class,
    }


def _check_fit(config: Config, state: Mapping[str, Tensor], checkpoint: Path) -> None:
    """Load the weights into the model that the config builds, or say what does not fit."""
    init_default_scope(config.get("default_scope") or "mmseg")
    model = revert_sync_batchnorm(MODELS.build(config.model))
    expected = {key: value.shape for key, value in model.state_dict().items()}
    found = {key: value.shape for key, value in state.items()}
    wrong = {
        "missing": sorted(expected.keys() - found.keys()),
        "unknown": sorted(found.keys() - expected.keys()),
        "of another shape": sorted(
            key for key in expected.keys() & found.keys() if expected[key] != found[key]
        ),
    }
    # BatchNorm counts its batches since PyTorch 0.4.1; older files do not have the counter.
    wrong["missing"] = [key for key in wrong["missing"] if not key.endswith("num_batches_tracked")]
    if any(wrong.values()):
        said = ", ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])})" for what, keys in wrong.items() if keys
        )
        raise ValueError(
            f"Expected {checkpoint} to be the authors' HRNet-W48, but weights: {said}."
        )
