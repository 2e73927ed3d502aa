"""What users type, from an empty folder outside the repository, with the package as a wheel."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mmseg
import pytest
import readme
import torch
from data_folders import make_folder

import mmseg_proto  # noqa: F401  (allows what checkpoints hold)
from mmseg_proto.hooks.checkpoint_files import load_weights

HOST_CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
PROTOTYPES = "decode_head.prototype_classifier.bank.prototypes"
SHORT = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.logger.interval=1"]
SMALL_VAL = ["val_dataloader.dataset.length=2", "test_dataloader.dataset.length=2"]


@dataclass
class Desk:
    """An empty working directory, and the environment in which the wheel is installed."""

    folder: Path
    site: Path

    def run(self, *arguments: str) -> str:
        """Run a Python module, fail with its output, and return the output."""
        environment = {**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-4000:]
        return output

    def prototypes(self, checkpoint: str) -> torch.Tensor:
        """Load the prototypes of a checkpoint the safe way."""
        state = load_weights(self.folder / checkpoint)["state_dict"]
        prototypes: torch.Tensor = state[PROTOTYPES]
        return prototypes


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it alone into a folder."""
    folder = tmp_path_factory.mktemp("site")
    build = ["hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run([sys.executable, "-m", *build], cwd=repository, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(folder / "s"),
    ]
    subprocess.run([sys.executable, "-m", *install, str(wheel)], check=True, capture_output=True)
    return folder / "s"


@pytest.fixture
def desk(site: Path, tmp_path: Path) -> Desk:
    (tmp_path / "desk").mkdir()
    return Desk(tmp_path / "desk", site)


def write_swapped(desk: Desk, name: str, stock: str, decoder: str, extra: str = "") -> None:
    """Write a user's own softmax config on a stock model, and the swap that the README shows."""
    (desk.folder / f"{name}.py").write_text(
        f"""_base_ = [
    {str(HOST_CONFIGS / "_base_" / "models" / stock)!r},
    {str(HOST_CONFIGS / "_base_" / "default_runtime.py")!r},
    {str(HOST_CONFIGS / "_base_" / "schedules" / "schedule_20k.py")!r},
    {str(desk.site / "mmseg_proto" / ".mim" / "configs" / "_base_/datasets/synthetic_scenes.py")!r},
]
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(64, 96)), pretrained=None,
    backbone=dict(norm_cfg={"norm_cfg" if "mit" not in stock else "dict(type='LN')"}),
    decode_head=dict(num_classes=8, norm_cfg=norm_cfg),{extra}
)
train_dataloader = dict(batch_size=2)
"""
    )
    swapped = readme.swap_snippet(f"{name}.py", decoder)
    (desk.folder / f"proto_{name}.py").write_text(swapped)


def test_packaged_demo_config_trains_and_tests(desk: Desk) -> None:
    where = desk.run("mmseg_proto.configs", "--path")
    assert str(desk.site / "mmseg_proto" / ".mim" / "configs") in where, "not the wheel's"
    assert "proto_demo_synthetic" in desk.run("mmseg_proto.configs")
    desk.run("mmseg_proto.configs", "proto_demo_synthetic", "-o", "mine.py")
    desk.run("mim", "train", "mmsegmentation", "mine.py", "--cfg-options", *SHORT, *SMALL_VAL)
    checkpoint = "work_dirs/mine/iter_2.pth"
    assert desk.prototypes(checkpoint).shape[:2] == (8, 10)
    output = desk.run(
        *("mim", "test", "mmsegmentation", "mine.py", "--checkpoint", checkpoint),
        *("--cfg-options", *SMALL_VAL),
    )
    assert re.search(r"mIoU: +\d+\.\d+", output)


def test_mim_finds_configs_and_tools_by_name(desk: Desk) -> None:
    config = "proto_demo_synthetic.py"
    options = ("--cfg-options", *SHORT, *SMALL_VAL)
    desk.run("mim", "train", "mmseg_proto", config, "--work-dir", "out", *options)
    checkpoint = "out/iter_2.pth"
    output = desk.run(
        "mim", "test", "mmseg_proto", config, "--checkpoint", checkpoint, *options[:1], *SMALL_VAL
    )
    assert re.search(r"mIoU: +\d+\.\d+", output)
    assert "8 classes, 10 prototypes" in desk.run(
        "mim", "run", "mmseg_proto", "inspect_prototypes", checkpoint
    )
    shown = desk.run("mim", "search", "mmseg_proto", "--config", "proto_segformer_b4_ade")
    assert re.search(r"batch_size +16", shown)


@pytest.mark.slow
def test_mim_searches_a_grid(desk: Desk) -> None:
    configs = desk.site / "mmseg_proto" / ".mim" / "configs"
    (desk.folder / "mine.py").write_text(
        f"""_base_ = {str(configs / "proto_demo_synthetic.py")!r}
model = dict(decode_head=dict(num_prototypes=5, loss_prototype=dict(contrast_weight=0.1)))
train_cfg = dict(max_iters=2, val_interval=2)
val_dataloader = dict(dataset=dict(length=2))
"""
    )
    head = "--model.decode_head."
    grid = f"{head}num_prototypes 1 5 {head}loss_prototype.contrast_weight 0.01 0.1"
    desk.run(
        *("mim", "gridsearch", "mmseg_proto", "mine.py", "--work-dir", "out", "--gpus", "0"),
        *("--search-args", grid),
    )
    found = {path.parent.name: path for path in desk.folder.glob("out_search_*/iter_2.pth")}
    assert len(found) == 4
    counts = {desk.prototypes(str(path)).shape[1] for path in found.values()}
    assert counts == {1, 5}


AUXILIARY = "\n    auxiliary_head=dict(num_classes=8, norm_cfg=norm_cfg),"


@pytest.mark.parametrize(
    ("stock", "decoder", "extra"),
    [
        pytest.param("fcn_r50-d8.py", "FCNHead", AUXILIARY, marks=pytest.mark.slow),
        pytest.param("upernet_r50.py", "UPerHead", AUXILIARY, marks=pytest.mark.slow),
        ("segformer_mit-b0.py", "SegformerHead", ""),
    ],
)
def test_own_config_trains_resumes_and_tests(
    desk: Desk, stock: str, decoder: str, extra: str
) -> None:
    write_swapped(desk, "mine", stock, decoder, extra)
    train = ("mim", "train", "mmsegmentation", "proto_mine.py", "--work-dir", "out")
    save = ["default_hooks.checkpoint.interval=2", *SMALL_VAL]
    desk.run(*train, "--cfg-options", *SHORT, *save)
    longer = ["train_cfg.max_iters=4", "train_cfg.val_interval=9", *save]
    output = desk.run(*train, "--resume", "--cfg-options", *longer)
    assert "resumed epoch: 0, iter: 2" in output
    assert not torch.equal(desk.prototypes("out/iter_2.pth"), desk.prototypes("out/iter_4.pth"))
    output = desk.run(
        *("mim", "test", "mmsegmentation", "proto_mine.py", "--checkpoint", "out/iter_4.pth"),
        *("--cfg-options", *SMALL_VAL),
    )
    assert re.search(r"mIoU: +\d+\.\d+", output)


def test_swap_by_command_line_alone(desk: Desk) -> None:
    """A config, data and schedule that know nothing of us."""
    data_root = make_folder("ade", desk.folder / "data")
    bases = [
        "_base_/models/segformer_mit-b0.py",
        "_base_/datasets/ade20k.py",
        "_base_/default_runtime.py",
        "_base_/schedules/schedule_20k.py",
    ]
    (desk.folder / "stock.py").write_text(
        f"""_base_ = {[str(HOST_CONFIGS / base) for base in bases]!r}
model = dict(
    data_preprocessor=dict(size=(64, 64)), pretrained=None,
    decode_head=dict(num_classes=150, norm_cfg=dict(type='BN')),
)
"""
    )
    options = [
        *readme.swap_options(),
        "train_dataloader.batch_size=2",
        "train_dataloader.dataset.pipeline.2.scale=(256,64)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
    ]
    for split in ("train", "val", "test"):
        options += [
            f"{split}_dataloader.dataset.data_root={data_root}",
            f"{split}_dataloader.num_workers=0",
            f"{split}_dataloader.persistent_workers=False",
        ]
    desk.run("mim", "train", "mmsegmentation", "stock.py", "--cfg-options", *SHORT, *options)
    checkpoint = "work_dirs/stock/iter_2.pth"
    assert desk.prototypes(checkpoint).abs().sum() > 0
    output = desk.run(
        *("mim", "test", "mmsegmentation", "stock.py", "--checkpoint", checkpoint),
        *("--cfg-options", *options),
    )
    assert re.search(r"mIoU: +\d+\.\d+", output)
