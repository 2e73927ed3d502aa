"""When and from what prototypes start."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, is_main_process
from torch import Tensor

from mmseg_proto.ops import segment_count
from mmseg_proto.prototypes import (
    NO_CANDIDATE,
    PrototypeBank,
    draw_candidates,
    seed_from_candidates,
)

from .parallel import concatenate_ranks, from_first_rank, sum_over_ranks
from .settings import SeedingSettings

#: Part of its equal share of wins below which a prototype counts as won by nothing.
_UNUSED = 0.01


class PrototypeSeeder:
    """Bring the prototypes of a bank to life.

    Holds no tensors: what it decides on lies in the bank, or follows from the iteration.

    Args:
        bank: The prototypes.
        settings: How prototypes start.
    """

    def __init__(self, bank: PrototypeBank, settings: SeedingSettings) -> None:
        self._bank = bank
        self.settings = settings
        self._due_at: int | None = None
        self._complete = False
        self._looks_for_more = False
        if settings.source == "random":
            self._seed_randomly()

    @property
    def due(self) -> bool:
        """Whether the coming forward pass looks for classes to seed."""
        return self._due_at is not None

    def begin_step(self, iteration: int) -> None:
        """Decide whether the coming forward pass looks for prototypes to seed.

        The decision rests on the iteration and the bank, so it is the same on all ranks. Once
        all prototypes exist it costs nothing, but for the looks for unused ones.

        Args:
            iteration: Training iteration, from 0.
        """
        revive = self.settings.revive_interval
        if revive is not None and iteration > 0 and iteration % revive == 0:
            # Usage is summed over ranks, so all of them let the same prototypes die.
            died = self._bank.retire(revive, _UNUSED / self._bank.shape[1])
            self._complete = self._complete and not bool(died.any())
        eager = self._looks_for_more or iteration < self.settings.eager_iterations
        due = not self._complete and (eager or iteration % self.settings.interval == 0)
        self._due_at = iteration if due else None

    def refresh(self) -> None:
        """Look up which prototypes exist, as after loading a checkpoint."""
        alive = self._bank.alive_mask
        self._complete = bool(alive.all())
        # A class that came a short while ago with few pixels; the next batches have more.
        begun = alive.any(dim=1) & ~alive.all(dim=1)
        self._looks_for_more = bool((begun & self._patient()).any())

    @torch.no_grad()
    def seed(self, embeddings: Tensor, labels: Tensor) -> None:
        """Seed prototypes of the classes in this batch that lack some.

        Every rank takes the same way through it: the classes to seed are known after a sum over
        ranks.

        Args:
            embeddings: Unit-norm embeddings, shape ``(N, D)``.
            labels: Class of each pixel, shape ``(N,)``, -1 for ignored ones.
        """
        bank, settings = self._bank, self.settings
        labels = torch.where(embeddings.isfinite().all(dim=1), labels, -1)
        present = sum_over_ranks(segment_count(labels, bank.shape[0])) > 0
        classes = (present & ~bank.alive_mask.all(dim=1)).nonzero().squeeze(1)
        if len(classes):
            generator = torch.Generator().manual_seed(settings.seed + (self._due_at or 0))
            candidates, mask = _draw_from_ranks(
                embeddings, labels, classes, settings.candidates, generator
            )
            patient = self._patient()[classes].cpu()
            seed_from_candidates(
                bank, classes, candidates, mask, generator, patient, from_first_rank
            )
        self.refresh()

    def _patient(self) -> Tensor:
        """Classes so young that they can wait for more of their looks, ``(C,)``, bool."""
        return self._bank.updates.amax(dim=1) < self.settings.eager_iterations

    def draw(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw candidates of all classes from one batch of a pass over the data.

        All ranks have to call it equally often, each with its part of the batch.

        Args:
            embeddings: Unit-norm embeddings, shape ``(N, D)``.
            labels: Class of each pixel, shape ``(N,)``, -1 for ignored ones.
            generator: Source of randomness, on the CPU, in the same state on all ranks.

        Returns:
            tuple[Tensor, Tensor]: Candidates of all ranks ``(C, P, D)`` and the mask of the real
            ones ``(C, P)``, on the CPU. P is such that all batches together give about
            `candidates`, and one batch enough for a class that is in no other.
        """
        num_classes, num_prototypes = self._bank.shape
        settings = self.settings
        limit = max(2 * num_prototypes, -(-settings.candidates // settings.batches))
        return _draw_from_ranks(embeddings, labels, torch.arange(num_classes), limit, generator)

    def seed_from_clusters(
        self, candidates: Tensor, mask: Tensor, cluster: Callable[[Tensor, int, int], Tensor]
    ) -> None:
        """Seed all classes at once from the centres of clusters.

        Args:
            candidates: Candidates of all ranks, shape ``(C, P, D)``, on the CPU.
            mask: Which of them are real, shape ``(C, P)``, bool.
            cluster: From points ``(P, D)``, the number of clusters and a seed to centres
                ``(at most that many, D)``. Called on the first rank only.
        """
        bank = self._bank
        prototypes, alive = torch.zeros_like(bank.prototypes.cpu()), bank.alive_mask.cpu()
        if is_main_process():
            for c, (points, real) in enumerate(zip(candidates, mask, strict=True)):
                if real.any():
                    centres = cluster(points[real], bank.shape[1], self.settings.seed)
                    prototypes[c, : len(centres)] = centres
                    alive[c, : len(centres)] = True
        classes = torch.arange(bank.shape[0], device=bank.prototypes.device)
        bank.seed(classes, from_first_rank(prototypes), from_first_rank(alive))
        self.refresh()

    def _seed_randomly(self) -> None:
        # Own generator: ranks must agree, and nobody sends buffers from rank 0 for us.
        generator = torch.Generator().manual_seed(self.settings.seed)
        directions = torch.randn(self._bank.prototypes.shape, generator=generator)
        alive = torch.ones(self._bank.shape, dtype=torch.bool)
        self._bank.seed(torch.arange(self._bank.shape[0]), F.normalize(directions, dim=-1), alive)
        self.refresh()


def _draw_from_ranks(
    embeddings: Tensor, labels: Tensor, classes: Tensor, limit: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the candidates that one process would draw from the pixels of all ranks.

    All ranks shuffle the pixels of all of them alike, keep the first of each class, and meet with
    as many candidates as one process has: the result does not depend on how pixels are split.

    Args:
        embeddings: Unit-norm embeddings of this rank, shape ``(N, D)``.
        labels: Their classes, shape ``(N,)``, -1 for ignored ones.
        classes: Classes to draw for, shape ``(M,)``, the same on all ranks.
        limit: Largest number of candidates a class.
        generator: Source of randomness, on the CPU, in the same state on all ranks.

    Returns:
        tuple[Tensor, Tensor]: Candidates ``(M, limit, D)`` in fp32 on the CPU and the mask of the
        real ones ``(M, limit)``, the same on all ranks.
    """
    counts = concatenate_ranks(torch.tensor([len(labels)]), dim=0)
    start = int(counts[: get_rank()].sum())
    # The inverse of a random order is the place in it.
    priority = torch.randperm(int(counts.sum()), generator=generator).argsort()
    own, places = draw_candidates(
        embeddings, labels, classes, limit, priority[start : start + len(labels)]
    )
    everyone = concatenate_ranks(places, dim=1).sort(dim=1).values[:, :limit].contiguous()
    # Each candidate that made it has one owner, the others add zeros.
    slots = torch.searchsorted(everyone, places)
    chosen = (places != NO_CANDIDATE) & (slots < limit)
    candidates = torch.zeros_like(own)
    candidates[chosen.nonzero()[:, 0], slots[chosen]] = own[chosen]
    return sum_over_ranks(candidates), everyone != NO_CANDIDATE
