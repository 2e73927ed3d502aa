"""Processes that train together over gloo, and are asked for one run after the other."""

import queue
import tempfile
import time
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor
from toy import make_samples

import mmseg_proto  # noqa: F401
from mmseg_proto.hooks.kmeans_seeding import kmeans_centres

CLASSES, CHANNELS = 4, 5
CONFIG = {
    "type": "ProtoDecodeHead",
    "decoder": "FCNHead",
    "in_channels": CHANNELS,
    "channels": CHANNELS,
    "num_convs": 0,
    "concat_input": False,
    "num_classes": CLASSES,
    "num_prototypes": 3,
    "norm_cfg": None,
    "decay": 0.9,
}


class Run(NamedTuple):
    """A run of all ranks.

    Attributes:
        labels: Labels of the pixels of all ranks, ``(N,)``, 255 for ignored ones.
        shares: Pixels of each rank, at least 1 each.
        steps: Training steps; features differ from step to step.
        seed: Seed of the features.
        source: Where prototypes start, as in the head's `seeding`.
    """

    labels: list[int]
    shares: list[int]
    steps: int
    seed: int
    source: str = "data"


class Outcome(NamedTuple):
    """What a rank, or one process, comes to.

    Attributes:
        assigned: Cosine of each of its pixels with the prototype it is assigned to, each step.
        state: The bank.
    """

    assigned: list[Tensor]
    state: dict[str, Tensor]


def train(run: Run, start: int, stop: int) -> Outcome:
    """Train on pixels `start` to `stop` of a run.

    Args:
        run: The run.
        start: First pixel of this process.
        stop: One after its last.

    Returns:
        Outcome: What it comes to.
    """
    head: Any = MODELS.build({**CONFIG, "seeding": {"source": run.source, "candidates": 4}})
    head.attach_hook()
    classifier = head.prototype_classifier
    labels = torch.tensor(run.labels[start:stop])

    def features(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(run.seed + step)
        drawn = torch.randn(CHANNELS, len(run.labels), generator=generator)
        return drawn[None, :, None, start:stop]

    if run.source == "kmeans":
        generator = torch.Generator().manual_seed(run.seed)
        pixels = [head.embed([features(-i)], make_samples(labels[None, None])) for i in (1, 2)]
        drawn = [classifier.seeder.draw(*part, generator) for part in pixels]
        candidates, mask = (torch.cat(parts, dim=1) for parts in zip(*drawn, strict=True))
        classifier.seeder.seed_from_clusters(candidates, mask, kmeans_centres)
    assigned = []
    for step in range(run.steps):
        classifier.begin_step(step)
        head.loss([features(step)], make_samples(labels[None, None]), {})
        # What the losses saw: once more, without keeping sums.
        pixel_labels = torch.where(labels == 255, -1, labels)
        _, pixels = classifier.forward_labelled(features(step), pixel_labels, 0.1)
        cosine = classifier.assign(pixels, keep=False).detach()
        assigned.append(torch.where(pixel_labels >= 0, cosine, 0.0))
        classifier.end_step(update=True)
    return Outcome(
        assigned, {key: value.clone() for key, value in classifier.bank.state_dict().items()}
    )


def _serve(rank: int, size: int, folder: str, asked: Any, answered: Any) -> None:
    torch.set_num_threads(1)
    init_default_scope("mmseg")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    while (run := asked.get()) is not None:
        start = sum(run.shares[:rank])
        outcome = train(run, start, start + run.shares[rank])
        arrays = [part.numpy() for part in outcome.assigned]
        answered.put((rank, arrays, {k: v.numpy() for k, v in outcome.state.items()}))
    dist.destroy_process_group()


class RankPool:
    """Ranks that wait for runs.

    Args:
        size: Number of ranks.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._folder = tempfile.TemporaryDirectory()
        context = mp.get_context("spawn")
        self._asked = [context.Queue() for _ in range(size)]
        self._answered = context.Queue()
        self._processes = [
            context.Process(
                target=_serve,
                args=(rank, size, self._folder.name, self._asked[rank], self._answered),
                daemon=True,
            )
            for rank in range(size)
        ]
        for process in self._processes:
            process.start()

    def train(self, run: Run) -> list[Outcome]:
        """Train on all ranks together.

        Raises:
            AssertionError: If one of them died, or they are not done after two minutes, as in a
                deadlock.
        """
        for asked in self._asked:
            asked.put(run)
        outcomes: dict[int, Outcome] = {}
        deadline = time.monotonic() + 120
        while len(outcomes) < self.size:
            try:
                rank, assigned, state = self._answered.get(timeout=1)
            except queue.Empty:
                assert all(process.is_alive() for process in self._processes), "a rank died"
                assert time.monotonic() < deadline, f"ranks are stuck in {run}"
                continue
            outcomes[rank] = Outcome(
                [torch.from_numpy(part) for part in assigned],
                {key: torch.from_numpy(value) for key, value in state.items()},
            )
        return [outcomes[rank] for rank in range(self.size)]

    def close(self) -> None:
        """Let the ranks go."""
        for asked in self._asked:
            asked.put(None)
        for process in self._processes:
            process.join(timeout=20)
            process.kill()
        self._folder.cleanup()
