"""Checkpoints that mmengine writes load with `weights_only`, and open no other door."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmseg_proto.hooks.checkpoint_globals import allow_checkpoint_globals, load_restricted

Read = Callable[[Path], Any]


class ToyModel(BaseModel):
    """One weight that follows its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs: list[torch.Tensor], mode: str = "tensor") -> Any:
        difference = (self.weight - torch.stack(inputs)).square().mean()
        return {"loss": difference} if mode == "loss" else [difference]


class ToyMetric(BaseMetric):
    """A metric whose value is a numpy scalar, as that of mmseg's IoUMetric is."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(float(data_samples[0]))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        return {"score": np.float32(np.mean(results)).round(2)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as mmengine's Runner writes it, with a log, a best score and an optimiser."""
    work_dir = tmp_path_factory.mktemp("runner")
    data = {"dataset": [{"inputs": torch.ones(1)}] * 4, "batch_size": 2, "num_workers": 0}
    runner = Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
        default_scope="mmseg",
        train_dataloader={**data, "sampler": {"type": "InfiniteSampler"}},
        val_dataloader={**data, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        val_evaluator=[ToyMetric()],
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        param_scheduler=[{"type": "PolyLR", "end": 4, "by_epoch": False}],
        train_cfg={"by_epoch": False, "max_iters": 4, "val_interval": 2},
        val_cfg={},
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": 1},
            "checkpoint": {
                "type": "CheckpointHook",
                "by_epoch": False,
                "interval": 2,
                "save_best": "score",
                "rule": "less",
            },
        },
        log_level="ERROR",
    )
    runner.train()
    return work_dir / "iter_4.pth"


def load_weights_only(path: Path) -> Any:
    return torch.load(path, weights_only=True)


@pytest.fixture(params=["weights_only", "restricted"])
def read(request: pytest.FixtureRequest) -> Read:
    """Both ways of reading: PyTorch's own since 2.6, and ours for versions before."""
    if request.param == "restricted":
        return load_restricted
    request.getfixturevalue("only_ours")
    return load_weights_only


@pytest.fixture
def only_ours() -> Iterator[None]:
    """Leaves nothing registered as safe but what the package registers."""
    if torch.__version__ < "2.6":
        pytest.skip("this PyTorch's weights_only reads no checkpoint of mmengine")
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    allow_checkpoint_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def test_a_runner_checkpoint_loads(checkpoint: Path, read: Read) -> None:
    loaded = read(checkpoint)
    hub = loaded["message_hub"]
    losses = hub["log_scalars"]["train/loss"]
    assert isinstance(losses, HistoryBuffer)
    assert len(losses.data[0]) == 4
    assert losses.statistics("current") == losses.data[0][-1]
    assert isinstance(hub["runtime_info"]["best_score"], np.generic)
    assert loaded["optimizer"]["state"]


@pytest.mark.usefixtures("only_ours")
def test_it_would_not_load_without(checkpoint: Path) -> None:
    torch.serialization.clear_safe_globals()
    with pytest.raises(UnpicklingError, match="Unsupported global"):
        torch.load(checkpoint, weights_only=True)


@pytest.mark.usefixtures("only_ours")
def test_the_host_does_not_take_it_away(checkpoint: Path) -> None:
    with torch.serialization.safe_globals([HistoryBuffer, np.ndarray, np.dtype]):
        pass
    torch.load(checkpoint, weights_only=True)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_either_numpy_may_have_written_it(module: bytes, tmp_path: Path, read: Read) -> None:
    path = tmp_path / "log.pth"
    log = {"loss": HistoryBuffer([1.5, 2.5], [1, 1]), "best": np.float64(3.5)}
    # The older format holds the pickled names as plain bytes.
    torch.save(log, path, _use_new_zipfile_serialization=False)
    written = np.empty(0).__reduce__()[0].__module__.encode()
    assert written in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(written, module))
    loaded = read(path)
    assert loaded["loss"].data[0].tolist() == [1.5, 2.5]
    assert loaded["best"] == 3.5


class Call:
    """Pickles as a call, as an attacker's file would."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def must_not_run(*_: Any) -> NoReturn:
    raise AssertionError("a function named by a checkpoint was called")


@pytest.mark.parametrize(
    "attack",
    [
        Call(getattr, HistoryBuffer, "__init__"),
        Call(getattr, HistoryBuffer, "__dict__"),
        Call(getattr, HistoryBuffer, "_statistics_methods"),
        Call(getattr, Call(getattr, HistoryBuffer, "min"), "__globals__"),
        Call(getattr, np.ndarray, "min"),
        Call(getattr, np.dtype, "type"),
    ],
    ids=lambda attack: str(attack.call[1][1]),
)
def test_getattr_reaches_nothing_else(attack: Call, tmp_path: Path, read: Read) -> None:
    torch.save({"message_hub": attack}, tmp_path / "attack.pth")
    with pytest.raises(UnpicklingError, match="refused"):
        read(tmp_path / "attack.pth")


@pytest.mark.parametrize(
    "attack",
    [Call(must_not_run), Call(os.system, "true"), Call(eval, "1"), Call(__import__, "os")],
    ids=["ours", "os.system", "eval", "import"],
)
def test_other_functions_stay_refused(attack: Call, tmp_path: Path, read: Read) -> None:
    torch.save({"message_hub": attack}, tmp_path / "attack.pth")
    with pytest.raises(UnpicklingError):
        read(tmp_path / "attack.pth")


@pytest.mark.usefixtures("only_ours")
def test_a_statistic_that_was_read_cannot_be_called(tmp_path: Path) -> None:
    statistic = HistoryBuffer.min
    torch.save({"message_hub": Call(statistic, HistoryBuffer([1.0], [1]))}, tmp_path / "attack.pth")
    with pytest.raises(UnpicklingError, match="unrecognized function"):
        torch.load(tmp_path / "attack.pth", weights_only=True)


@pytest.mark.usefixtures("only_ours")
def test_getattr_itself_is_not_registered() -> None:
    registered = torch.serialization.get_safe_globals()
    names = {pair[1]: pair[0] for pair in registered if isinstance(pair, tuple)}
    assert getattr not in registered
    assert names["builtins.getattr"] is not getattr


def test_registering_twice_adds_nothing(only_ours: None) -> None:
    before = set(torch.serialization.get_safe_globals())
    allow_checkpoint_globals()
    assert set(torch.serialization.get_safe_globals()) == before
