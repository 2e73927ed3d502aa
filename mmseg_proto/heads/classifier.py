"""Classification of pixels by their nearest prototype: embedding, bank and scale."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmseg_proto.ops import (
    BalancedDraw,
    assign_prototypes,
    draw_balanced,
    nearest_prototypes,
    segment_count,
    winning_prototypes,
)
from mmseg_proto.prototypes import PrototypeBank, class_health, collect_statistics

from .embedding import PixelEmbedding
from .parallel import sum_over_ranks
from .score_scale import ScoreScale
from .seeder import PrototypeSeeder
from .settings import ClusteringSettings, UpdateSettings

#: Numbers in the embeddings of a strip of an image, of which inference takes one at a time.
_STRIP_NUMBERS = 2**22


@dataclass(frozen=True)
class LabelledPixels:
    """What a training pass keeps for the losses, of all pixels of a feature map or of some.

    Attributes:
        embeddings: Unit-norm embeddings, ``(N, D)``.
        labels: Class of each pixel, ``(N,)``; -1 for ignored ones, for those of a class without
            prototypes and for those with a non-finite embedding.
        own_similarity: Cosine with the prototypes of the own class, ``(N, K)``.
        log_partition: Logarithm of the denominator of PPC, ``(N,)``.
        predicted: Class with the largest score, ``(N,)``; None where all pixels move prototypes.
        draw: The draw that took these pixels from all; None if they are all.
    """

    embeddings: Tensor
    labels: Tensor
    own_similarity: Tensor
    log_partition: Tensor
    predicted: Tensor | None
    draw: BalancedDraw | None = None


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

    nonfinite: Tensor

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
        self.update = update
        self.iteration = 0
        # Labelled pixels in training whose embedding was not finite, since somebody last asked.
        self.register_buffer("nonfinite", torch.zeros(()), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits without labels: no writes, no randomness.

        Args:
            features: Decoder features, shape ``(B, D', H, W)``.

        Returns:
            Tensor: Logits with shape ``(B, C, H, W)``.
        """
        height, width = features.shape[-2:]
        strip = max(1, _STRIP_NUMBERS // max(1, len(features) * self.embedding.channels * width))
        if torch.is_grad_enabled() or strip >= height or self.embedding.extent == "image":
            return self._compare(self._embed(features), features)[0]
        # The embeddings of a huge image would take as much memory as its features once more.
        logits: Tensor | None = None
        last = features.is_contiguous(memory_format=torch.channels_last)
        # Resizing and argmax are several times slower on logits in another format than softmax's.
        memory = torch.channels_last if last else torch.contiguous_format
        for start in range(0, height, strip):
            rows = features[:, :, start : start + strip]
            rows = rows.contiguous(memory_format=memory) if last else rows
            part = self._compare(self._embed(rows), rows)[0]
            if logits is None:
                shape = (*part.shape[:2], height, width)
                logits = torch.empty(
                    shape, dtype=part.dtype, device=part.device, memory_format=memory
                )
            logits[:, :, start : start + strip] = part
        assert logits is not None  # more than one strip
        return logits

    @torch.no_grad()
    def winners(self, features: Tensor) -> Tensor:
        """Find the nearest prototype of each class.

        Args:
            features: Decoder features, shape ``(B, D', H, W)``.

        Returns:
            Tensor: Its number in the class, shape ``(B, C, H, W)``, int16; -1 for a class without
            prototypes.
        """
        batch, _, height, width = features.shape
        bank = self.bank
        found = winning_prototypes(self._embed(features), bank.directions, bank.alive_mask)
        return found.reshape(batch, height, width, -1).permute(0, 3, 1, 2)

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
        finite = embeddings.detach().sum(dim=1).isfinite()
        if self.training:
            self.nonfinite += ((labels >= 0) & ~finite).sum()
        labels = torch.where(has_prototypes & finite, labels, -1)
        num_pixels = self.clustering.num_pixels
        logits, own, log_partition = self._compare(
            embeddings, features, labels if num_pixels is None else None, temperature
        )
        # Of interest to the update alone, and there to one of its settings.
        predicted = None
        if self.update.pixels != "all":
            predicted = logits.detach().argmax(dim=1).flatten()
        draw = None
        if num_pixels is not None:
            offset = torch.rand((), device=labels.device, dtype=torch.float64)
            draw = draw_balanced(labels, alive.shape[0], num_pixels, offset)
            embeddings, labels = embeddings.index_select(0, draw.drawn), labels[draw.drawn]
            predicted = None if predicted is None else predicted[draw.drawn]
            _, own, log_partition = nearest_prototypes(
                embeddings, self.bank.directions, alive, labels, temperature=temperature
            )
        assert own is not None  # labels were given
        assert log_partition is not None
        return logits, LabelledPixels(embeddings, labels, own, log_partition, predicted, draw)

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
            start=self.clustering.start,
            few_pixels=self.clustering.few_pixels,
            reduce=sum_over_ranks,
        )
        if keep:
            self.bank.accumulate(
                collect_statistics(
                    pixels.embeddings.detach(),
                    self._moving(pixels),
                    assignment.moving,
                    pixels.labels,
                    similarity.argmax(dim=1),
                    self.bank.shape,
                )
            )
        return pixels.own_similarity.gather(1, assignment.target[:, None]).squeeze(1)

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

    def seed_if_due(self, features: Tensor, labels: Tensor) -> None:
        """Seed prototypes of the classes in this batch that lack some, if it is time to.

        The only write of a training pass.

        Args:
            features: Decoder features without dropout, shape ``(B, D', H, W)``.
            labels: Class of each pixel, shape ``(B*H*W,)``, -1 for ignored ones.
        """
        if self.seeder.due:
            # With gradients, and detached after: autocast of older PyTorch keeps weights that it
            # cast without one, and the pass that follows would not train them.
            self.seeder.seed(self._embed(features.detach()).detach(), labels)

    def health(self) -> dict[str, Tensor]:
        """Say how the prototypes of each class fare.

        Returns:
            dict[str, Tensor]: The numbers of `class_health`, ``(C,)`` each, and ``scale`` of the
            logits, ``()``.
        """
        bank = self.bank
        numbers = class_health(bank.directions, bank.alive_mask, bank.usage)
        return {**numbers, "scale": self.score_scale.value()}

    def take_nonfinite(self) -> int:
        """Say how many pixels of all ranks were left out for their embedding; counts anew."""
        count = int(sum_over_ranks(self.nonfinite.clone()))
        self.nonfinite.zero_()
        return count

    def _embed(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.embedding(features)
        return embeddings

    def _moving(self, pixels: LabelledPixels) -> Tensor:
        """Labels of the pixels that move prototypes, -1 for the others."""
        if pixels.predicted is None:
            return pixels.labels
        correct = pixels.predicted == pixels.labels
        if self.update.pixels == "correct":
            return torch.where(correct, pixels.labels, -1)
        where_correct = torch.where(correct, pixels.labels, -1)
        right = sum_over_ranks(segment_count(where_correct, self.bank.shape[0])) > 0
        return torch.where(correct | ~right[pixels.labels.clamp(min=0)], pixels.labels, -1)

    def _compare(
        self,
        embeddings: Tensor,
        features: Tensor,
        labels: Tensor | None = None,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Logits ``(B, C, H, W)``, own similarity and log-partition of embedded features."""
        batch, _, height, width = features.shape
        # Where channels come last, rows of scores are a map already.
        last = features.is_contiguous(memory_format=torch.channels_last)
        as_rows = last or not self.score_scale.is_factor
        scores, own, log_partition = nearest_prototypes(
            embeddings,
            self.bank.directions,
            self.bank.alive_mask,
            labels,
            scale=self.score_scale.factor(),
            temperature=temperature,
            num_maps=None if as_rows else batch,
        )
        logits: Tensor = self.score_scale(scores)
        if as_rows:
            logits = logits.view(batch, height, width, -1).permute(0, 3, 1, 2)
        else:
            logits = logits.unflatten(2, (height, width))
        return logits, own, log_partition
