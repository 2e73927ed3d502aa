"""A softmax and a prototype model on synthetic scenes, trained once for all tests of a process."""

from functools import cache
from pathlib import Path

from short_runs import train_briefly

from mmseg_proto.apis.trained import Trained

TRAINING_IMAGES, VALIDATION_IMAGES = 40, 12


@cache
def softmax_and_prototypes(repository: Path, folder: Path) -> tuple[Trained, Trained]:
    """Train both for a moment; softmax is tested with sliding windows, prototypes without."""
    windows = "dict(mode='slide', crop_size=(48, 48), stride=(32, 32))"
    first, second = (
        _train(
            repository / "configs" / f"{kind}_demo_synthetic.py", folder / f"pair_{kind}", tested
        )
        for kind, tested in (("softmax", windows), ("proto", "dict(mode='whole')"))
    )
    return first, second


def _train(base: Path, folder: Path, tested: str) -> Trained:
    name = base.stem.partition("_")[0]
    folder.mkdir()
    config = folder / f"{name}.py"
    config.write_text(
        f"_base_ = {str(base)!r}\n"
        f"train_dataloader = dict(batch_size=2, dataset=dict(length={TRAINING_IMAGES}))\n"
        f"val_dataloader = dict(dataset=dict(length={VALIDATION_IMAGES}))\n"
        "model = dict(backbone=dict(init_cfg=None), decode_head=dict(channels=32),\n"
        f"    test_cfg={tested})\n"
    )
    return Trained(name, config, train_briefly(config))
