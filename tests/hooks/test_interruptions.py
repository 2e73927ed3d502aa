"""Runs that are killed go on from a whole checkpoint, and end as if nothing had happened."""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.runner import Runner
from toy_runner import make_runner

from mmseg_proto.hooks import AtomicCheckpointHook, PrototypeUpdateHook
from mmseg_proto.hooks.checkpoint_files import load_weights
from mmseg_proto.hooks.random_state_hook import random_state, restore_random_state

ROOT = Path(__file__).parents[2]
ATOMIC: dict[str, Any] = {
    "default_hooks.checkpoint.type": "AtomicCheckpointHook",
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.checkpoint.max_keep_ckpts": 1,
}


def _start(work_dir: Path, iterations: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "interrupted_run.py")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [*command, str(work_dir), str(iterations), *options],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(work_dir: Path, iterations: int, *options: str) -> dict[str, torch.Tensor]:
    process = _start(work_dir, iterations, *options)
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]
    return _weights(work_dir / f"iter_{iterations}.pth")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_weights(path)["state_dict"]
    return state


def _assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [key for key in expected if not torch.equal(found[key], expected[key])]
    assert not different


def test_a_run_killed_in_the_middle_of_a_write_ends_like_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    """With augmentation and dropout, to the last bit; one checkpoint is kept."""
    expected = _finish(tmp_path / "whole", 8)
    killed = _start(tmp_path / "killed", 8, "--die-writing", "4")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    names = {path.name for path in (tmp_path / "killed").glob("iter_*")}
    assert names == {"iter_3.pth", "iter_4.pth.part"}
    _assert_equal(_finish(tmp_path / "killed", 8, "--resume"), expected)
    assert {path.name for path in (tmp_path / "killed").glob("iter_*")} == {"iter_8.pth"}


@pytest.mark.slow
def test_twenty_random_kills(tmp_path: Path) -> None:
    """Twenty kills at random moments, twenty resumes, and no run is lost."""
    iterations, rng = 400, random.Random(0)
    expected = _finish(tmp_path / "whole", iterations)
    work_dir, kills, progress = tmp_path / "killed", 0, []
    while kills < 20:
        process = _start(work_dir, iterations, *(["--resume"] if kills else []))
        assert process.stderr is not None
        # From the first iteration that is over; each takes some hundredths of a second.
        first = next((line for line in process.stderr if line.startswith("done ")), None)
        assert first is not None, "the run was lost"
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kills += 1
        progress.append(int(first.split()[1]))
    assert progress == sorted(progress)
    assert progress[-1] > 20
    _assert_equal(_finish(work_dir, iterations, "--resume"), expected)


def test_a_checkpoint_is_there_at_every_moment_of_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(tmp_path, ATOMIC)
    seen = []
    save = runner.save_checkpoint

    def spy(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        save(out_dir, filename, *args, **kwargs)
        folder = Path(out_dir)
        whole = sorted(path.name for path in folder.glob("*.pth"))
        last = folder / "last_checkpoint"
        seen.append((filename, whole, Path(last.read_text()).name if last.exists() else None))

    monkeypatch.setattr(runner, "save_checkpoint", spy)
    runner.train()
    assert seen == [
        ("iter_1.pth.part", [], None),
        *((f"iter_{i}.pth.part", [f"iter_{i - 1}.pth"], f"iter_{i - 1}.pth") for i in range(2, 5)),
    ]
    assert [path.name for path in Path(runner.work_dir).glob("iter_*")] == ["iter_4.pth"]


@pytest.mark.parametrize(("kept", "names"), [(-1, [1, 2, 3, 4]), (2, [3, 4])])
def test_as_many_checkpoints_are_kept_as_the_host_keeps(
    kept: int, names: list[int], tmp_path: Path
) -> None:
    for kind in ("CheckpointHook", "AtomicCheckpointHook"):
        hook = "default_hooks.checkpoint"
        options = {**ATOMIC, f"{hook}.type": kind, f"{hook}.max_keep_ckpts": kept}
        runner = make_runner(tmp_path / kind, options)
        runner.train()
        found = sorted(path.name for path in Path(runner.work_dir).glob("*.pth"))
        assert found == [f"iter_{name}.pth" for name in names]


def test_the_best_checkpoint_is_replaced_not_removed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {"default_hooks.checkpoint.save_best": "mIoU", "train_cfg.val_interval": 1}
    runner = make_runner(tmp_path, {**ATOMIC, **best})
    scores = iter((10.0, 20.0, 30.0, 5.0))
    monkeypatch.setattr(runner.val_loop.evaluator, "evaluate", lambda size: {"mIoU": next(scores)})
    seen = []
    save = runner.save_checkpoint

    def spy(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        save(out_dir, filename, *args, **kwargs)
        if filename.startswith("best"):
            seen.append(sorted(path.name for path in Path(out_dir).glob("best*.pth")))

    monkeypatch.setattr(runner, "save_checkpoint", spy)
    runner.train()
    assert seen == [[], ["best_mIoU_iter_1.pth"], ["best_mIoU_iter_2.pth"]]
    names = sorted(path.name for path in Path(runner.work_dir).glob("*.pth*"))
    assert names == ["best_mIoU_iter_3.pth", "iter_4.pth"]


def test_a_full_disk_loses_nothing_and_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(tmp_path, ATOMIC)
    save = runner.save_checkpoint

    def full(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        if filename.startswith("iter_3"):
            Path(out_dir, filename).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(runner, "save_checkpoint", full)
    with pytest.raises(OSError, match=r"No space left .* whole checkpoint is .*iter_2\.pth\. Make"):
        runner.train()
    folder = Path(runner.work_dir)
    assert [path.name for path in folder.glob("iter_*")] == ["iter_2.pth"]
    assert (folder / "last_checkpoint").read_text().endswith("iter_2.pth")
    resumed = make_runner(tmp_path, {**ATOMIC, "resume": True})
    resumed.train()
    assert resumed.iter == 4


def _saved(tmp_path: Path) -> Path:
    runner = make_runner(tmp_path, ATOMIC)
    runner.train()
    return Path(runner.work_dir) / "iter_4.pth"


class _Attack:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "tensor", "code"])
@pytest.mark.parametrize("use", ["resume", "load_from", "test"])
def test_unreadable_checkpoints_are_refused_before_anything_is_loaded(
    kind: str, use: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.pth"
    if kind == "truncated":
        path.write_bytes(_saved(tmp_path).read_bytes()[:-500])
    elif kind == "tensor":
        torch.save(torch.ones(2), path)
    elif kind == "code":
        torch.save({"state_dict": {}, "meta": _Attack(tmp_path / "trace")}, path)
    else:
        path.write_text("" if kind == "empty" else "no checkpoint")
    runner = make_runner(tmp_path, {"load_from": str(path), "resume": use == "resume"})
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    messages = {
        "empty": "the file is empty",
        "tensor": "to hold a dict, but got Tensor",
        "code": r"nothing in it was run or loaded\. It refers to \w+\.system, which could",
    }
    with pytest.raises(ValueError, match=messages.get(kind, "nothing in it was run or loaded")):
        (runner.test if use == "test" else runner.train)()
    assert not (tmp_path / "trace").exists()
    _assert_equal(runner.model.state_dict(), before)


@given(st.binary(min_size=1, max_size=60))
def test_foreign_bytes_are_refused_whatever_they_are(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        file.write(data)
        file.flush()
        with pytest.raises(ValueError, match=f"^Expected {file.name} to "):
            load_weights(Path(file.name))


def test_a_checkpoint_that_is_trusted_is_left_to_the_host(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    saved = load_weights(path)
    torch.save({**saved, "made_with": Path("a path, which is no weight")}, path)
    runner = make_runner(tmp_path, {"load_from": str(path), "resume": True})
    with pytest.raises(ValueError, match=r"refers to pathlib\.\w+, .*trust_checkpoints=True\.$"):
        runner.train()
    PrototypeUpdateHook(trust_checkpoints=True).before_run(runner)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {"load_from": str(tmp_path / "none.pth")})
    with pytest.raises(FileNotFoundError, match=r"Expected a checkpoint at .*none\.pth"):
        runner.train()


@pytest.mark.parametrize(
    "change", [{"num_prototypes": 4}, {"projection": {"out_channels": 5}}], ids=["K", "D"]
)
def test_other_prototypes_are_refused_on_resume_and_seeded_anew_otherwise(
    change: dict[str, Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"load_from": str(_saved(tmp_path))}
    options.update({f"model.decode_head.{key}": value for key, value in change.items()})
    runner = make_runner(tmp_path, {**options, "resume": True})
    with pytest.raises(ValueError, match=r"but the checkpoint has \(3, 3, 8\)\. Nothing was loa"):
        runner.train()
    fresh = make_runner(tmp_path, options)
    fresh.train()
    bank = fresh.model.decode_head.prototype_classifier.bank
    assert bank.alive_mask.any(dim=1).all()


def test_a_softmax_checkpoint_cannot_be_tested_with_prototypes(tmp_path: Path) -> None:
    state = _weights(_saved(tmp_path))
    softmax = {key: value for key, value in state.items() if "prototype_classifier" not in key}
    torch.save({"state_dict": softmax, "meta": {}}, tmp_path / "softmax.pth")
    runner = make_runner(tmp_path, {"load_from": str(tmp_path / "softmax.pth")})
    with pytest.raises(ValueError, match="Expected decode_head to have prototypes, but none were"):
        runner.test()


def test_random_states_are_restored_in_all_generators() -> None:
    def draw() -> list[float]:
        return [random.random(), torch.rand(()).item(), float(torch.randn(3).sum())]

    state = random_state()
    expected = draw()
    restore_random_state(state)
    assert draw() == expected


def test_the_random_state_hook_needs_a_checkpoint_hook(tmp_path: Path) -> None:
    options = {"default_hooks.random_state": {"type": "RandomStateHook"}}
    by_epoch = {"default_hooks.checkpoint.by_epoch": True}
    with pytest.raises(ValueError, match="by_epoch=False, but got one with by_epoch=True"):
        make_runner(tmp_path, {**options, **by_epoch}).train()


def test_the_hook_is_a_checkpoint_hook_of_the_host(tmp_path: Path) -> None:
    runner: Runner = make_runner(tmp_path, ATOMIC)
    assert any(isinstance(hook, AtomicCheckpointHook) for hook in runner.hooks)
    assert load_weights(_saved(tmp_path))["meta"]["iter"] == 4


def test_validation_alone_saves_nothing(tmp_path: Path) -> None:
    best = {"default_hooks.checkpoint.save_best": "mIoU"}
    runner = make_runner(tmp_path, {**ATOMIC, **best})
    assert runner.val()["mIoU"] >= 0
    assert not list(Path(runner.work_dir).glob("*.pth*"))
