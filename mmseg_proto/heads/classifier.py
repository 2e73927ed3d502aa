"""Classification of pixels by their nearest prototype: embedding, bank and scale."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_proto.ops import nearest_prototypes, segment_sum, within_class_sinkhorn
from mmseg_proto.prototypes import (
    PrototypeBank,
    collect_statistics,
    draw_candidates,
    extend_by_kmeans_plus_plus,
    intra_class_cosine,
    live_share,
    usage_perplexity,
)

from .embedding import PixelEmbedding
from .parallel import concatenate_ranks, from_first_rank, sum_over_ranks
from .settings import ClusteringSettings, ScaleSettings, SeedingSettings


@dataclass(frozen=True)
class LabelledPixels:
    """What a training pass keeps of the pixels of a feature map for the losses.

    Attributes:
        embeddings: Unit-norm embeddings, ``(N, D)``.
        labels: Class of each pixel, ``(N,)``; -1 for ignored ones, for those of a class without
            prototypes and for those with a non-finite embedding.
        own_similarity: Cosine with the prototypes of the own class, ``(N, K)``.
        log_partition: Logarithm of the denominator of PPC, ``(N,)``.
    """

    embeddings: Tensor
    labels: Tensor
    own_similarity: Tensor
    log_partition: Tensor


class PrototypeClassifier(nn.Module):
    """Takes the place of the softmax classifier `conv_seg` of a decoder.

    Args:
        embedding: From decoder features to unit-norm embeddings.
        bank: The prototypes.
        scale: Settings of the scale from cosines to logits.
        clustering: Settings of the within-class clustering.
        seeding: Settings of how prototypes start.
    """

    log_scale: Tensor

    def __init__(
        self,
        embedding: PixelEmbedding,
        bank: PrototypeBank,
        scale: ScaleSettings,
        clustering: ClusteringSettings,
        seeding: SeedingSettings,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.bank = bank
        self.clustering = clustering
        self.seeding = seeding
        self.scale_settings = scale
        # As a logarithm, steps of the optimiser are relative; shape (1,) suits every optimiser.
        log_scale = torch.tensor([math.log(scale.init)])
        if scale.learnable:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._seed_iteration: int | None = None
        self._complete = False
        if seeding.source == "random":
            self._seed_randomly()

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits without labels: no writes, no randomness.

        Args:
            features: Decoder features, shape ``(B, D', H, W)``.

        Returns:
            Tensor: Logits with shape ``(B, C, H, W)``.
        """
        embeddings = self._embed(features)
        with torch.autocast(features.device.type, enabled=False):
            scores = nearest_prototypes(
                embeddings, self.bank.directions.to(embeddings.dtype), self.bank.alive_mask
            ).class_scores
            return self._logits(scores, features)

    def forward_labelled(
        self, features: Tensor, labels: Tensor, temperature: float
    ) -> tuple[Tensor, LabelledPixels]:
        """Compute logits, and what the prototype losses need, in one pass over the prototypes.

        Args:
            features: Decoder features, shape ``(B, D', H, W)``.
            labels: Class of each pixel at feature size, shape ``(B*H*W,)``, -1 for ignored ones.
            temperature: Temperature of PPC.

        Returns:
            tuple[Tensor, LabelledPixels]: Logits ``(B, C, H, W)`` and the pixels.
        """
        embeddings = self._embed(features)
        alive = self.bank.alive_mask
        has_prototypes = alive.any(dim=1)[labels.clamp(min=0)]
        finite = embeddings.detach().isfinite().all(dim=1)
        labels = torch.where(has_prototypes & finite, labels, -1)
        with torch.autocast(features.device.type, enabled=False):
            scores, own, log_partition = nearest_prototypes(
                embeddings,
                self.bank.directions.to(embeddings.dtype),
                alive,
                labels,
                temperature=temperature,
            )
            assert own is not None  # labels were given
            assert log_partition is not None
            logits = self._logits(scores, features)
        return logits, LabelledPixels(embeddings, labels, own, log_partition)

    def assign(self, pixels: LabelledPixels, *, keep: bool) -> Tensor:
        """Cluster pixels within their classes.

        Args:
            pixels: Pixels of a labelled pass.
            keep: Whether to keep sums and counts for the next update of the prototypes.

        Returns:
            Tensor: Cosine of each pixel with its assigned prototype, shape ``(N,)``; meaningless
            for pixels with label -1.
        """
        plan = within_class_sinkhorn(
            pixels.own_similarity.detach(),
            pixels.labels,
            self.bank.alive_mask,
            kappa=self.clustering.kappa,
            iterations=self.clustering.iterations,
            reduce=sum_over_ranks,
        )
        assignment = plan.argmax(dim=1)
        if keep:
            nearest = pixels.own_similarity.argmax(dim=1)
            self.bank.accumulate(
                collect_statistics(
                    pixels.embeddings.detach(), pixels.labels, assignment, nearest, self.bank.shape
                )
            )
        return pixels.own_similarity.gather(1, assignment[:, None]).squeeze(1)

    def begin_step(self, iteration: int) -> None:
        """Decide whether the coming forward pass looks for prototypes to seed.

        The decision rests on the iteration alone, so it is the same on all ranks. Once all
        prototypes exist it costs nothing.

        Args:
            iteration: Training iteration, from 0.
        """
        eager = iteration < self.seeding.eager_iterations
        due = not self._complete and (eager or iteration % self.seeding.interval == 0)
        self._seed_iteration = iteration if due else None

    def end_step(self, *, update: bool) -> None:
        """Finish an optimiser step.

        Args:
            update: Whether the prototypes move; False throws the step's statistics away.
        """
        if update:
            self.bank.update(sum_over_ranks)
        else:
            self.bank.discard()
        if isinstance(self.log_scale, nn.Parameter):
            bounds = self.scale_settings
            self.log_scale.data.clamp_(math.log(bounds.min), math.log(bounds.max))

    @torch.no_grad()
    def seed_if_due(self, features: Tensor, labels: Tensor) -> None:
        """Seed prototypes of the classes in this batch that lack some, if it is time to.

        The only write of a training pass. Every rank takes the same way through it: the classes
        to seed are known after a sum over ranks.

        Args:
            features: Decoder features without dropout, shape ``(B, D', H, W)``.
            labels: Class of each pixel, shape ``(B*H*W,)``, -1 for ignored ones.
        """
        if self._seed_iteration is None:
            return
        embeddings = self._embed(features)
        labels = torch.where(embeddings.isfinite().all(dim=1), labels, -1)
        bank = self.bank
        ones = embeddings.new_ones(labels.shape)
        present = sum_over_ranks(segment_sum(ones, labels, bank.shape[0])) > 0
        classes = (present & ~bank.alive_mask.all(dim=1)).nonzero().squeeze(1)
        if len(classes):
            generator = torch.Generator().manual_seed(self.seeding.seed + self._seed_iteration)
            candidates, mask = draw_candidates(
                embeddings, labels, classes, self.seeding.candidates, generator
            )
            prototypes, alive = extend_by_kmeans_plus_plus(
                concatenate_ranks(candidates, dim=1),
                concatenate_ranks(mask, dim=1),
                bank.directions[classes].float().cpu(),
                bank.alive_mask[classes].cpu(),
                generator,
            )
            bank.seed(classes, from_first_rank(prototypes), from_first_rank(alive))
            self.refresh()

    def refresh(self) -> None:
        """Look up whether all prototypes exist, as after loading a checkpoint."""
        self._complete = bool(self.bank.alive_mask.all())

    def health(self) -> dict[str, float]:
        """Summarise the prototypes; reads a few numbers on the host.

        Returns:
            dict[str, float]: ``live_share`` of all prototypes; ``perplexity`` of nearest-prototype
            wins and ``cosine`` between the prototypes of a class, means over the classes that have
            one; ``scale`` of the logits.
        """
        bank, alive = self.bank, self.bank.alive_mask
        numbers = {
            "live_share": live_share(alive).mean(),
            "perplexity": usage_perplexity(bank.usage).nanmean(),
            "cosine": intra_class_cosine(bank.directions, alive).nanmean(),
            "scale": self.log_scale.detach().exp().squeeze(),
        }
        return {name: float(number) for name, number in numbers.items()}

    def _embed(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.embedding(features)
        return embeddings

    def _logits(self, scores: Tensor, features: Tensor) -> Tensor:
        batch, _, height, width = features.shape
        logits = scores * self.log_scale.to(scores.dtype).exp()
        return logits.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def _seed_randomly(self) -> None:
        # Own generator: ranks must agree, and nobody sends buffers from rank 0 for us.
        generator = torch.Generator().manual_seed(self.seeding.seed)
        directions = torch.randn(self.bank.prototypes.shape, generator=generator)
        alive = torch.ones(self.bank.shape, dtype=torch.bool)
        self.bank.seed(torch.arange(self.bank.shape[0]), F.normalize(directions, dim=-1), alive)
        self.refresh()
