"""Classification of pixels by their nearest prototype: embedding, bank and scale."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmseg_proto.ops import assign_prototypes, nearest_prototypes, segment_sum
from mmseg_proto.prototypes import PrototypeBank, class_health, collect_statistics

from .embedding import PixelEmbedding
from .parallel import sum_over_ranks
from .score_scale import ScoreScale
from .seeder import PrototypeSeeder
from .settings import ClusteringSettings, UpdateSettings


@dataclass(frozen=True)
class LabelledPixels:
    """What a training pass keeps of the pixels of a feature map for the losses.

    Attributes:
        embeddings: Unit-norm embeddings, ``(N, D)``.
        labels: Class of each pixel, ``(N,)``; -1 for ignored ones, for those of a class without
            prototypes and for those with a non-finite embedding.
        own_similarity: Cosine with the prototypes of the own class, ``(N, K)``.
        log_partition: Logarithm of the denominator of PPC, ``(N,)``.
        predicted: Class with the largest score, ``(N,)``; None where all pixels move prototypes.
    """

    embeddings: Tensor
    labels: Tensor
    own_similarity: Tensor
    log_partition: Tensor
    predicted: Tensor | None


class PrototypeClassifier(nn.Module):
    """Takes the place of the softmax classifier `conv_seg` of a decoder.

    Args:
        embedding: From decoder features to unit-norm embeddings.
        bank: The prototypes.
        score_scale: From cosines to logits.
        seeder: Brings prototypes to life.
        clustering: Settings of the within-class clustering.
        update: Settings of what moves the prototypes.
    """

    def __init__(
        self,
        embedding: PixelEmbedding,
        bank: PrototypeBank,
        score_scale: ScoreScale,
        seeder: PrototypeSeeder,
        clustering: ClusteringSettings,
        update: UpdateSettings,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.bank = bank
        self.score_scale = score_scale
        self.seeder = seeder
        self.clustering = clustering
        self._only_correct = update.pixels == "correct"
        self.iteration = 0

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
        # Of interest to the update alone, and there to one of its settings.
        predicted = scores.detach().argmax(dim=1) if self._only_correct else None
        return logits, LabelledPixels(embeddings, labels, own, log_partition, predicted)

    def assign(self, pixels: LabelledPixels, *, keep: bool) -> Tensor:
        """Cluster pixels within their classes.

        Args:
            pixels: Pixels of a labelled pass.
            keep: Whether to keep sums and counts for the next update of the prototypes.

        Returns:
            Tensor: Cosine of each pixel with its assigned prototype, shape ``(N,)``; meaningless
            for pixels with label -1.
        """
        similarity = pixels.own_similarity.detach()
        assignment = assign_prototypes(
            similarity,
            pixels.labels,
            self.bank.alive_mask,
            assign=self.clustering.assign,
            kappa=self.clustering.kappa,
            iterations=self.clustering.iterations,
            reduce=sum_over_ranks,
        )
        if keep:
            self.bank.accumulate(
                collect_statistics(
                    pixels.embeddings.detach(),
                    self._moving(pixels),
                    assignment,
                    pixels.labels,
                    similarity.argmax(dim=1),
                    self.bank.shape,
                )
            )
        return pixels.own_similarity.gather(1, assignment[:, None]).squeeze(1)

    def begin_step(self, iteration: int) -> None:
        """Tell what iteration the coming forward pass belongs to.

        Args:
            iteration: Training iteration, from 0.
        """
        self.iteration = iteration
        self.seeder.begin_step(iteration)

    def end_step(self, *, update: bool) -> None:
        """Finish an optimiser step.

        Args:
            update: Whether the prototypes move; False throws the step's statistics away.
        """
        if update:
            self.bank.update(sum_over_ranks)
        else:
            self.bank.discard()
        self.score_scale.clamp()

    @torch.no_grad()
    def seed_if_due(self, features: Tensor, labels: Tensor) -> None:
        """Seed prototypes of the classes in this batch that lack some, if it is time to.

        The only write of a training pass.

        Args:
            features: Decoder features without dropout, shape ``(B, D', H, W)``.
            labels: Class of each pixel, shape ``(B*H*W,)``, -1 for ignored ones.
        """
        if self.seeder.due:
            self.seeder.seed(self._embed(features), labels)

    def health(self) -> dict[str, Tensor]:
        """Say how the prototypes of each class fare.

        Returns:
            dict[str, Tensor]: The numbers of `class_health`, ``(C,)`` each, and ``scale`` of the
            logits, ``()``.
        """
        bank = self.bank
        numbers = class_health(bank.directions, bank.alive_mask, bank.usage)
        return {**numbers, "scale": self.score_scale.value()}

    def _embed(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.embedding(features)
        return embeddings

    def _moving(self, pixels: LabelledPixels) -> Tensor:
        """Labels of the pixels that move prototypes, -1 for the others."""
        if pixels.predicted is None:
            return pixels.labels
        correct = pixels.predicted == pixels.labels
        ones = pixels.embeddings.new_ones(correct.shape)
        where_correct = torch.where(correct, pixels.labels, -1)
        right = sum_over_ranks(segment_sum(ones, where_correct, self.bank.shape[0])) > 0
        return torch.where(correct | ~right[pixels.labels.clamp(min=0)], pixels.labels, -1)

    def _logits(self, scores: Tensor, features: Tensor) -> Tensor:
        batch, _, height, width = features.shape
        logits: Tensor = self.score_scale(scores)
        return logits.view(batch, height, width, -1).permute(0, 3, 1, 2)
