"""The prototypes and all state that belongs to them."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_proto.ops import expect_number

from .statistics import PrototypeStatistics

#: Memory of the usage shares, in updates of a class: long enough to smooth single images.
_USAGE_DECAY = 0.99


def move_prototypes(
    prototypes: Tensor, sums: Tensor, counts: Tensor, decay: float | Tensor
) -> Tensor:
    """Move prototypes towards the mean direction of their pixels (eq. 14).

    ``p <- normalize(decay * p + (1 - decay) * normalize(sum))``: `decay` weighs the *old*
    prototype, like mu in the paper (and unlike `momentum` in mmengine).

    This departs from the authors' code on several GPUs: there each rank moves its own copy and
    the copies are averaged, here sums and counts are reduced first.

    Args:
        prototypes: Unit-norm prototypes, shape ``(C, K, D)``.
        sums: Sum of the embeddings assigned to each, shape ``(C, K, D)``.
        counts: Number of these, shape ``(C, K)``; prototypes with 0 stay as they are.
        decay: Weight of the old prototype, in [0, 1]; one for all, or shape ``(C, K, 1)``.

    Returns:
        Tensor: Moved unit-norm prototypes, shape ``(C, K, D)``.
    """
    moved = F.normalize(decay * prototypes + (1 - decay) * F.normalize(sums, dim=-1), dim=-1)
    # Embeddings that cancel out give no direction to move in, just like no embeddings.
    has_direction = (counts > 0) & (sums.norm(dim=-1) > 1e-12)
    return torch.where(has_direction[..., None], moved, prototypes)


class PrototypeBank(nn.Module):
    """K prototypes for each of C classes, as buffers that live in the ordinary checkpoint.

    Prototypes get no gradient and no optimiser sees them. They are written by :meth:`seed` and
    :meth:`update` alone, in place.

    A prototype that does not exist yet is a zero vector. So the weighted averages that
    ``EMAHook(update_buffers=True)`` makes of the bank still point in the right direction, and
    whatever has a share of existence exists (`alive` above 0).

    Args:
        num_classes: Number of classes C, at least 1.
        num_prototypes: Number of prototypes per class K, at least 1.
        channels: Channels D of an embedding, at least 1.
        decay: Weight of the old prototype in an update, in [0, 1] (mu in eq. 14). Defaults
            to 0.999.
        clock: w of a running mean at the start: a prototype that has moved n times keeps
            ``min(decay, (n + 1) / (n + w))`` of itself. Defaults to None: `decay` from the start.

    Raises:
        TypeError: If `decay` is no number.
        ValueError: If a size is below 1, `decay` is outside [0, 1] or `clock` is not above 1.
    """

    prototypes: Tensor
    alive: Tensor
    updates: Tensor
    usage: Tensor

    def __init__(
        self,
        num_classes: int,
        num_prototypes: int,
        channels: int,
        decay: float = 0.999,
        clock: float | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "num_prototypes": num_prototypes, "channels": channels}
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(
                    f"Expected `{name}` to be a whole number above 0, but got {size!r}."
                )
        expect_number("decay", decay)
        if not 0 <= decay <= 1:
            raise ValueError(
                "Expected `decay` (weight of the old prototype) to be between 0 and 1, "
                f"but got {decay}."
            )
        if clock is not None and clock <= 1:
            raise ValueError(f"Expected `clock` to be above 1, but got {clock}.")
        self.decay = decay
        self.clock = clock
        shape = (num_classes, num_prototypes)
        self.register_buffer("prototypes", torch.zeros(*shape, channels))
        # Floats, because averaging hooks skip or break integer buffers.
        self.register_buffer("alive", torch.zeros(shape))
        self.register_buffer("updates", torch.zeros(shape))
        self.register_buffer("usage", torch.zeros(shape))
        # Not a buffer: neither checkpoints nor averaging hooks may see half a step.
        self._pending: PrototypeStatistics | None = None

    def extra_repr(self) -> str:
        """Sizes and decay, as shown by ``print(model)``."""
        classes, prototypes, channels = self.prototypes.shape
        return (
            f"num_classes={classes}, num_prototypes={prototypes}, channels={channels}, "
            f"decay={self.decay}"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of classes C and prototypes per class K."""
        return self.alive.shape[0], self.alive.shape[1]

    @property
    def alive_mask(self) -> Tensor:
        """Which prototypes exist, shape ``(C, K)``, bool."""
        return self.alive > 0

    @property
    def directions(self) -> Tensor:
        """Unit-norm prototypes, shape ``(C, K, D)``; zero where none exists.

        Normalised on reading, since an average of unit vectors (``EMAHook``) is shorter.
        """
        return F.normalize(self.prototypes, dim=-1)

    def accumulate(self, statistics: PrototypeStatistics) -> None:
        """Keep the statistics of a forward pass for the next update; several add up."""
        self._pending = statistics if self._pending is None else self._pending.plus(statistics)

    def discard(self) -> None:
        """Throw pending statistics away, as when the optimiser step was skipped."""
        self._pending = None

    @torch.no_grad()
    def update(self, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """Make one EMA step (eq. 14) with the pending statistics, and forget them.

        Args:
            reduce: Sums a tensor over all ranks. Called for every part on every rank, also on
                one without pixels, which sends zeros. Defaults to None: one process.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            pending = PrototypeStatistics(
                torch.zeros_like(self.prototypes),
                torch.zeros_like(self.alive),
                torch.zeros_like(self.alive),
            )
        sums, counts, wins = pending if reduce is None else pending.reduced(reduce)
        decay = self._decay_now()
        self.prototypes.copy_(move_prototypes(self.prototypes, sums, counts, decay))
        self.updates.add_((counts > 0).to(self.updates.dtype))
        class_wins = wins.sum(dim=1, keepdim=True)
        share = wins / class_wins.clamp(min=1)
        keep = torch.where(class_wins > 0, _USAGE_DECAY, 1.0)
        self.usage.mul_(keep).add_((1 - keep) * share)

    @torch.no_grad()
    def retire(self, min_updates: int, max_usage: float) -> Tensor:
        """Let prototypes that nothing has won for long die, so that their places can be seeded.

        Args:
            min_updates: Moves that a prototype has made before it can die.
            max_usage: Share of the wins of its class, below which it dies.

        Returns:
            Tensor: Which prototypes died, shape ``(C, K)``, bool.
        """
        died = self.alive_mask & (self.updates >= min_updates) & (self.usage < max_usage)
        for buffer in (self.alive, self.updates, self.usage):
            buffer.masked_fill_(died, 0.0)
        self.prototypes.masked_fill_(died[..., None], 0.0)
        return died

    def _decay_now(self) -> float | Tensor:
        if self.clock is None:
            return self.decay
        running_mean = (self.updates + 1) / (self.updates + self.clock)
        return running_mean.clamp(max=self.decay)[..., None]

    @torch.no_grad()
    def seed(self, classes: Tensor, prototypes: Tensor, alive: Tensor) -> None:
        """Bring prototypes to life.

        Args:
            classes: Classes to write, shape ``(M,)``, int64.
            prototypes: Their prototypes, shape ``(M, K, D)``.
            alive: Which of these exist now, shape ``(M, K)``, bool. Ones that existed before keep
                their place and value.
        """
        existed = self.alive[classes] > 0
        fresh = alive.to(existed.device) & ~existed
        new = F.normalize(prototypes.to(self.prototypes), dim=-1)
        self.prototypes[classes] = torch.where(fresh[..., None], new, self.prototypes[classes])
        self.alive[classes] = torch.where(fresh, 1.0, self.alive[classes])

    @torch.no_grad()
    def hand_over(self, label: int, places: Sequence[int], to: int) -> None:
        """Let prototypes of a class be those of another from now on, as they are.

        Args:
            label: Class that loses them.
            places: Which of its prototypes; they exist, and others stay.
            to: Class that gets them, which has none.

        Raises:
            ValueError: If a prototype does not exist or is named twice, none would stay or none
                would go, or the other class has prototypes.
        """
        exist = self.alive[label].nonzero().flatten().tolist()
        if not set(places) < set(exist) or not places or len(set(places)) < len(places):
            raise ValueError(
                f"Expected some, but not all, of the prototypes {exist}, but got {list(places)}."
            )
        if self.alive[to].any():
            raise ValueError(f"Expected class {to} to have no prototypes yet, but it has some.")
        for buffer in (self.prototypes, self.alive, self.updates, self.usage):
            buffer[to, list(places)] = buffer[label, list(places)]
            buffer[label, list(places)] = 0.0
