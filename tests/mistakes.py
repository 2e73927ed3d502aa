"""Wrong configurations and inputs, each with a way to make it; docs/mistakes.md has what is said.

python tests/mistakes.py prints the lines of its tables.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from toy_runner import StripesDataset, make_runner

from mmseg_proto import _host
from mmseg_proto.hooks.checkpoint_files import load_weights

Config = dict[str, Any]


@DATASETS.register_module()
class UnlabelledStripes(StripesDataset):
    """As from a pipeline without LoadAnnotations."""

    def __getitem__(self, index: int) -> Config:
        item = super().__getitem__(index)
        del item["data_samples"].gt_sem_seg
        return item


@DATASETS.register_module()
class CutStripes(StripesDataset):
    """Images that are smaller than their label maps."""

    def __getitem__(self, index: int) -> Config:
        item = super().__getitem__(index)
        return {**item, "inputs": item["inputs"][:, 4:]}


#: Arguments of the head that are wrong.
HEAD: list[Config] = [
    {"decoder": None},
    {"decoder": "SegformrHead"},
    {"decoder": 3},
    {"decoder": "MixVisionTransformer"},
    {"decoder": "PointHead"},
    {"decoder": "SegmenterMaskTransformerHead"},
    {"decoder": "Mask2FormerHead"},
    {"num_prototype": 3},
    {"pool_scales": (1,)},
    {"num_prototypes": 0},
    {"num_prototypes": 2.5},
    {"num_prototypes": "5"},
    {"decay": 2},
    {"decay": "high"},
    {"decay": None},
    {"num_classes": "4"},
    {"num_classes": None},
    {"num_classes": -3},
    {"num_classes": 1},
    {"num_classes": 2, "out_channels": 1},
    {"ignore_index": "255"},
    {"clustering": 3},
    {"clustering": {"kapa": 1}},
    {"clustering": {"kappa": 0}},
    {"clustering": {"kappa": "0.05"}},
    {"clustering": {"kappa": float("nan")}},
    {"clustering": {"iterations": 0}},
    {"clustering": {"iterations": 2.5}},
    {"clustering": {"num_pixels": 0}},
    {"clustering": {"num_pixels": "all"}},
    {"clustering": {"assign": "soft"}},
    {"clustering": {"assign": 1}},
    {"clustering": {"start": "classes"}},
    {"clustering": {"few_pixels": "all"}},
    {"score_scale": {"init": 0.5}},
    {"score_scale": {"init": "10"}},
    {"score_scale": {"kind": "vector"}},
    {"score_scale": {"learnable": "yes"}},
    {"score_scale": {"max": 5}},
    {"seeding": {"source": "kmean"}},
    {"seeding": {"seed": "x"}},
    {"seeding": {"candidates": 0}},
    {"seeding": {"candidates": 2.5}},
    {"seeding": {"interval": 0}},
    {"seeding": {"eager_iterations": -1}},
    {"seeding": {"revive_interval": 0}},
    {"seeding": {"batches": 0}},
    {"seeding": {"batch": 3}},
    {"update": "all"},
    {"update": {"pixels": "wrong"}},
    {"update": {"clock": 1}},
    {"update": {"clock": "2"}},
    {"label_sampling": "bilinear"},
    {"preset": "ours"},
    {"projection": True},
    {"projection": {"num_layers": 0}},
    {"projection": {"out_channels": "256"}},
    {"projection": {"out_channels": 0}},
    {"projection": {"normalize": 1}},
    {"feature_norm": "LN"},
    {"feature_norm": {"eps": 1}},
    {"loss_prototype": 3},
    {"loss_prototype": {"contrast": 0.1}},
    {"loss_prototype": {"temperature": "0.1"}},
    {"loss_prototype": {"temperature": 0}},
    {"loss_prototype": {"warmup_iterations": 1.5}},
    {"loss_prototype": {"type": "CrossEntropyLoss"}},
    {"loss_decode": {"type": "PixelPrototypeLoss"}},
]


class RunMistake(NamedTuple):
    """A run that should be refused.

    Attributes:
        what: What is wrong, in a few words.
        options: What is merged into the config of tests/toy_runner.py.
        action: Method of the runner that meets it.
        before: Makes the checkpoint that is loaded from a whole one of the same config.
        hook: Whether the config has the update hook.
    """

    what: str
    options: Config
    action: str = "train"
    before: Callable[[Path], None] | None = None
    hook: bool = True


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def _write(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(text)

    return write


def _without_prototypes(path: Path) -> None:
    state = load_weights(path)["state_dict"]
    kept = {key: value for key, value in state.items() if "prototype_classifier" not in key}
    torch.save({"state_dict": kept, "meta": {}}, path)


class _Attack:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


_RESUME = {"resume": True}
_HEAD = "model.decode_head"
_SOFTMAX = {"_delete_": True, "type": "FCNHead", "in_channels": 64, "channels": 8, "num_classes": 3}

RUN: list[RunMistake] = [
    RunMistake("no update hook", {}, hook=False),
    RunMistake("two update hooks", {"custom_hooks": [{"type": "PrototypeUpdateHook"}]}),
    RunMistake("the hook without the head", {_HEAD: _SOFTMAX}),
    RunMistake("`interval='50'`", {"default_hooks.prototype.interval": "50"}),
    RunMistake("`interval=0`", {"default_hooks.prototype.interval": 0}),
    RunMistake("`check_ranks='no'`", {"default_hooks.prototype.check_ranks": "no"}),
    RunMistake("`trust_checkpoints=1`", {"default_hooks.prototype.trust_checkpoints": 1}),
    RunMistake(
        "RandomStateHook, checkpoints by epoch",
        {
            "default_hooks.random_state": {"type": "RandomStateHook"},
            "default_hooks.checkpoint.by_epoch": True,
        },
    ),
    RunMistake(
        "more classes in training data than in the head",
        {"train_dataloader.dataset.classes": ("a", "b", "c", "d")},
    ),
    RunMistake(
        "fewer classes in test data than in the head",
        {"test_dataloader.dataset.classes": ("a", "b")},
        action="test",
    ),
    RunMistake("a label that is no class", {"train_dataloader.dataset.wrong": 3}),
    RunMistake("no label map", {"train_dataloader.dataset.type": "UnlabelledStripes"}),
    RunMistake("a label map of another size", {"train_dataloader.dataset.type": "CutStripes"}),
    RunMistake("a missing checkpoint", {"load_from": "none.pth"}),
    RunMistake("a checkpoint cut short", _RESUME, before=_cut),
    RunMistake("an empty checkpoint", {}, before=_write("")),
    RunMistake("a text for a checkpoint", {}, before=_write("a")),
    RunMistake("a tensor for a checkpoint", {}, before=lambda p: torch.save(torch.ones(1), p)),
    RunMistake(
        "a checkpoint with code in it",
        {},
        before=lambda path: torch.save({"state_dict": {}, "meta": _Attack()}, path),
    ),
    RunMistake(
        "another K on resume", {**_RESUME, f"{_HEAD}.num_prototypes": 4}, before=lambda _: None
    ),
    RunMistake(
        "another D on resume",
        {**_RESUME, f"{_HEAD}.projection": {"out_channels": 5}},
        before=lambda _: None,
    ),
    RunMistake(
        "another number of classes on resume",
        {
            **_RESUME,
            f"{_HEAD}.num_classes": 4,
            "model.auxiliary_head.num_classes": 4,
            "train_dataloader.dataset.classes": ("a", "b", "c", "d"),
        },
        before=lambda _: None,
    ),
    RunMistake(
        "a softmax checkpoint tested as prototypes", {}, action="test", before=_without_prototypes
    ),
]

#: Installed distributions of the host that do not go together.
HOST = {
    "no host": {},
    "both families": {
        "onedl-mmengine": "0.10.12",
        "onedl-mmcv": "2.3.6",
        "onedl-mmsegmentation": "1.4.2",
        "mmcv": "2.1.0",
    },
    "MMSegmentation 0.x": {"mmcv-full": "1.7.2", "mmsegmentation": "0.30.0"},
}


def _build_head(arguments: Config) -> None:
    init_default_scope("mmseg")
    base = {"in_channels": 8, "channels": 16, "num_classes": 4, "decoder": "FCNHead", **arguments}
    if base["decoder"] is None:
        del base["decoder"]
    MODELS.build({"type": "ProtoDecodeHead", **base})


def _start_run(mistake: RunMistake, folder: Path) -> None:
    options = dict(mistake.options)
    if mistake.before:
        path = folder / "it.pth"
        first = make_runner(folder)
        first.train()
        first.save_checkpoint(str(folder), "it.pth", by_epoch=False)
        mistake.before(path)
        options["load_from"] = str(path)
    getattr(make_runner(folder, options, hook=mistake.hook), mistake.action)()


def _import_with(versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    hidden = {} if versions else dict.fromkeys(("mmengine", "mmcv", "mmseg"))
    with (
        mock.patch.object(metadata, "version", version),
        mock.patch.dict(sys.modules, hidden),
    ):
        _host.require_host()


def mistakes() -> dict[str, Callable[[Path], None]]:
    """Return what makes each mistake, in a folder, under what the docs call it."""
    made: dict[str, Callable[[Path], None]] = {}
    for arguments in HEAD:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        what = "no `decoder`" if given == "decoder=None" else f"`{given}`"
        made[what] = lambda _, wrong=arguments: _build_head(wrong)  # type: ignore[misc]
    for run in RUN:
        made[run.what] = lambda folder, wrong=run: _start_run(wrong, folder)  # type: ignore[misc]
    for what, versions in HOST.items():
        made[what] = lambda _, wrong=versions: _import_with(wrong)  # type: ignore[misc]
    return made


def row(what: str, folder: Path) -> str:
    """Make a mistake, and return the line of docs/mistakes.md with what is said about it.

    Raises:
        AssertionError: If nothing is said.
    """
    try:
        mistakes()[what](folder)
    except (TypeError, ValueError, RuntimeError, OSError, ImportError) as error:
        said = str(error).replace(f"{folder}{os.sep}", "")
        # PyTorch's own words change from version to version.
        said = re.sub(r"(cut short or no checkpoint): .*", r"\1: ...", said)
        return f"| {what} | {type(error).__name__}: {said} |"
    raise AssertionError(f"nothing is said about {what}")


def main() -> None:
    """Print all lines."""
    for what in mistakes():
        with tempfile.TemporaryDirectory() as folder:
            sys.stderr.write(row(what, Path(folder)) + "\n")


if __name__ == "__main__":
    main()
