import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import rules
from rich.console import Console
from torch import Tensor

from mmseg_proto.apis import speed_cases, speed_peers
from mmseg_proto.apis.speed_benchmark import SpeedSettings, run_parts, write_summary
from mmseg_proto.apis.speed_cases import our_step
from mmseg_proto.apis.speed_measure import measure, peak_memory
from mmseg_proto.apis.speed_peers import authors_step, vectorised_step
from mmseg_proto.configs import config_root

CPU = torch.device("cpu")
TINY = SpeedSettings(
    rounds=1,
    pixels=64,
    channels=8,
    num_classes=5,
    num_prototypes=2,
    classes=(3, 4),
    places=(1, 2),
    map_size=8,
    image=(4, 4),
    models=("segformer_b0",),
    size=64,
)


def test_the_authors_step_is_theirs() -> None:
    """By what their own code gave: the loss, its gradient and the moved prototypes of one step."""
    golden = np.load(rules.HERE / "authors_updates.npz")
    step = rules.training_step(0, ignored=False)
    embeddings = step.embeddings.clone().requires_grad_()
    # Their network normalises what it is given, through which the gradient flows.
    pixels = F.normalize(embeddings.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    _, loss, moved = authors_step(pixels, rules.start(), step.labels.flatten(), 1.0, 0.9)
    assert loss.item() == pytest.approx(float(golden["argmax_loss"]), abs=1e-9)
    gradient = torch.autograd.grad(loss, embeddings)[0]
    np.testing.assert_allclose(gradient, golden["argmax_gradient"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(moved, golden["argmax_prototypes"], rtol=0, atol=1e-9)


def test_all_steps_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Their plans start differently, and meet after enough iterations.
    for module, name in (
        (speed_peers, "authors_sinkhorn"),
        (speed_peers, "within_class_sinkhorn"),
        (speed_cases, "assign_prototypes"),
    ):
        patient = functools.partial(getattr(module, name), iterations=300)
        monkeypatch.setattr(module, name, patient)
    generator = torch.Generator().manual_seed(0)

    def units(*shape: int) -> Tensor:
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return F.normalize(numbers, dim=-1)

    embeddings, prototypes = units(200, 6).requires_grad_(), units(5, 3, 6)
    labels = torch.randint(0, 5, (200,), generator=generator)
    results = []
    for step in (authors_step, vectorised_step, our_step):
        scores, loss, moved = step(embeddings, prototypes, labels, 0.1, 0.9)
        gradient = torch.autograd.grad(scores.square().sum() + loss, embeddings)[0]
        results.append((scores.detach(), loss.detach(), moved, gradient))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0], rtol=1e-5, atol=1e-6)


def test_peak_memory_counts_what_lives_at_the_same_time() -> None:
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.empty(2**20, dtype=torch.uint8)

    def together() -> list[Tensor]:
        return [torch.empty(2**20, dtype=torch.uint8) for _ in range(3)]

    assert peak_memory(one_after_the_other, CPU) / 2**20 == pytest.approx(1, abs=0.01)
    assert peak_memory(together, CPU) / 2**20 == pytest.approx(3, abs=0.01)


def test_ratios_are_to_the_peer_of_the_same_round() -> None:
    calls: list[str] = []
    functions = {name: functools.partial(calls.append, name) for name in ("a", "b")}
    taken = measure(functions, CPU, 3, peer="b")
    # Once for memory and warm-up, then in turn.
    assert calls == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert taken["b"]["time_ratio"] == 1
    assert taken["a"]["time_ratio"] > 0


def test_every_part_runs_and_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    console = Console(quiet=True)
    run_parts(config_root(), ["op", "classes", "places"], TINY, CPU, out, console)
    results = run_parts(
        config_root(), ["image", "clustering", "training", "inference"], TINY, CPU, out, console
    )
    assert results == json.loads(out.read_text())
    assert set(results["op"]["cases"]["N=64, C=5, K=2, D=8"]) == {
        "three matmuls",
        "streamed op",
        "step, ours",
        "step, vectorised",
        "step, authors'",
    }
    for part in ("training", "inference"):
        taken = results[part]["cases"]["segformer_b0"]
        assert taken["softmax"]["time_ratio"] == taken["softmax"]["memory_ratio"] == 1
        assert taken["proto"]["seconds"] > 0
        assert taken["proto"]["peak_mib"] > 0
    assert results["op"]["machine"]["torch"] == torch.__version__
    write_summary(results, tmp_path, "speed")
    assert "| C=3 | prototypes |" in (tmp_path / "speed.md").read_text()
    assert (tmp_path / "speed.png").stat().st_size > 10_000


def test_errors(tmp_path: Path) -> None:
    arguments = (TINY, CPU, tmp_path / "x.json", Console(quiet=True))
    with pytest.raises(ValueError, match="parts among op, classes.* but got memory"):
        run_parts(config_root(), ["memory"], *arguments)
    with pytest.raises(ValueError, match="models among segformer_b0.* but got vit"):
        SpeedSettings(models=("vit",))
    with pytest.raises(ValueError, match="`rounds` to be at least 1, but got 0"):
        SpeedSettings(rounds=0)
