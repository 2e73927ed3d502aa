"""When and from what prototypes start."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from torch import Tensor

from mmseg_proto.ops import segment_count
from mmseg_proto.prototypes import PrototypeBank, draw_candidates, extend_by_kmeans_plus_plus

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
            candidates, mask = draw_candidates(
                embeddings, labels, classes, settings.candidates, generator
            )
            prototypes, alive = extend_by_kmeans_plus_plus(
                concatenate_ranks(candidates, dim=1),
                concatenate_ranks(mask, dim=1),
                bank.directions[classes].float().cpu(),
                bank.alive_mask[classes].cpu(),
                generator,
                self._patient()[classes].cpu(),
            )
            bank.seed(classes, from_first_rank(prototypes), from_first_rank(alive))
        self.refresh()

    def _patient(self) -> Tensor:
        """Classes so young that they can wait for more of their looks, ``(C,)``, bool."""
        return self._bank.updates.amax(dim=1) < self.settings.eager_iterations

    def draw(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw candidates of all classes from one batch of a pass over the data.

        Args:
            embeddings: Unit-norm embeddings, shape ``(N, D)``.
            labels: Class of each pixel, shape ``(N,)``, -1 for ignored ones.
            generator: Source of randomness, on the CPU.

        Returns:
            tuple[Tensor, Tensor]: Candidates ``(C, P, D)`` and the mask of the real ones
            ``(C, P)``, on the CPU. P is such that all batches together give about `candidates`,
            and one batch enough for a class that is in no other.
        """
        num_classes, num_prototypes = self._bank.shape
        settings = self.settings
        limit = max(2 * num_prototypes, -(-settings.candidates // settings.batches))
        return draw_candidates(embeddings, labels, torch.arange(num_classes), limit, generator)

    def seed_from_clusters(
        self, candidates: Tensor, mask: Tensor, cluster: Callable[[Tensor, int, int], Tensor]
    ) -> None:
        """Seed all classes at once from the centres of clusters.

        Args:
            candidates: Candidates of this rank, shape ``(C, P, D)``, on the CPU.
            mask: Which of them are real, shape ``(C, P)``, bool.
            cluster: From points ``(P, D)``, the number of clusters and a seed to centres
                ``(at most that many, D)``. Called on the first rank only.
        """
        bank = self._bank
        candidates, mask = concatenate_ranks(candidates, dim=1), concatenate_ranks(mask, dim=1)
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
