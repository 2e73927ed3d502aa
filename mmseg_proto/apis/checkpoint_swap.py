"""A trained softmax model becomes a prototype model, with one pass over its training data."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_proto.heads.decoders import last_head
from mmseg_proto.hooks.checkpoint_files import load_weights
from mmseg_proto.hooks.kmeans_seeding import kmeans_centres
from mmseg_proto.ops import expect_number, nearest_prototypes
from mmseg_proto.prototypes import ClassifierEmbedding, classifier_embedding, fit_scale, lean

from .config_swap import write_swap
from .feature_sample import draw_features
from .loading import build_bare
from .progress import under_bar
from .whole_files import expect_new_file, written_whole

#: Fewer pixels that the classifier gets right than this, and all of a class are clustered.
_FEW = 50


@dataclass(frozen=True)
class SwapSettings:
    """How prototypes are made.

    Args:
        num_prototypes: Clusters of each class, at least 1.
        pixels: Pixels of each class that are kept for clustering, at least 2.
        lean: Weight of the class direction of the classifier in a prototype, at least 0: 0 leaves
            cluster centres as they are, and the larger it is, the more do prototypes decide as
            softmax does, and the more they are alike.
        images: Training images to look at; None for all.
        seed: Seed of everything random.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is too small.
    """

    num_prototypes: int = 10
    pixels: int = 4000
    lean: float = 1.0
    images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_prototypes", 1), ("pixels", 2), ("lean", 0), ("images", 1)):
            value = getattr(self, name)
            if name == "images" and value is None:
                continue
            expect_number(name, value, whole=name != "lean")
            if value < least:
                raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")


class SwappedCheckpoint(NamedTuple):
    """What was written.

    Attributes:
        config: The new config.
        checkpoint: The new checkpoint.
        notes: What was done, in words.
    """

    config: Path
    checkpoint: Path
    notes: list[str]


def swap_checkpoint(
    config: Path,
    checkpoint: Path,
    out: Path,
    settings: SwapSettings = SwapSettings(),  # noqa: B008 - immutable
    *,
    device: str = "cpu",
    force: bool = False,
) -> SwappedCheckpoint:
    """Make a prototype model of a trained softmax model, without training.

    Features of each class are drawn evenly from one pass over the training data, in bounded
    memory. Those that the classifier gets right are embedded by what it makes of them, clustered by
    k-means, and the centres lean towards the class. Files are written when all is done.

    Args:
        config: Config of the softmax model.
        checkpoint: Its checkpoint.
        out: Folder for the new config and checkpoint, named after the old config.
        settings: How prototypes are made.
        device: Where the pass over the data runs. Defaults to 'cpu'.
        force: Whether files that are there may be overwritten. Defaults to False.

    Returns:
        SwappedCheckpoint: What was written.

    Raises:
        FileNotFoundError: If config or checkpoint is not there.
        FileExistsError: If a file is there that would be overwritten.
        ValueError: If the decoder cannot be swapped, or the checkpoint is none of the config.
    """
    written = out / f"proto_{config.stem}.py", out / f"proto_{config.stem}.pth"
    for path in written:
        expect_new_file(path, force=force)
    loaded = load_weights(checkpoint)
    weights = dict(loaded.get("state_dict", loaded))
    with tempfile.TemporaryDirectory() as folder:
        # Says what cannot be swapped before the data is looked at.
        write_swap(config, Path(folder) / "draft.py")
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get("default_scope") or "mmseg")
    model = _build(cfg, weights).to(device)
    classifier = last_head(model).conv_seg
    features, labels = draw_features(
        cfg, model, settings.pixels, images=settings.images, seed=settings.seed
    )
    weight, bias = classifier.weight.detach().cpu().flatten(1), classifier.bias.detach().cpu()
    embedding = classifier_embedding(weight, bias, features)
    right = (features @ weight.T + bias).argmax(dim=1) == labels
    prototypes, alive = _cluster(embedding, features, labels, right, settings)
    options = {
        "num_prototypes": settings.num_prototypes,
        "projection": {"out_channels": len(embedding.weight), "num_layers": 1},
        "feature_norm": None,
    }
    out.mkdir(parents=True, exist_ok=True)
    # Both are written whole, the config last: it is what is used first.
    fresh = written[0].with_name(f"{written[0].stem}_new.py")
    try:
        notes = write_swap(config, fresh, force=True, head=options)
        new = Config.fromfile(fresh)
        swapped = MODELS.build(new.model)
        _fill(swapped, weights, embedding, prototypes, alive)
        _scale(swapped, features, labels)
        # With the config in it, as the runner saves it, so that `load` needs no other file.
        meta = {**(loaded.get("meta") or {}), "cfg": new.pretty_text}
        with written_whole(written[1]) as draft:
            torch.save({"meta": meta, "state_dict": swapped.state_dict()}, draft)
        fresh.replace(written[0])
    finally:
        fresh.unlink(missing_ok=True)
    return SwappedCheckpoint(*written, notes)


def _build(cfg: Config, weights: dict[str, Tensor]) -> Any:
    """Build the softmax model and load its weights, all of them."""
    model = build_bare(cfg.model)
    missing = model.load_state_dict(weights, strict=False).missing_keys
    missing = [key for key in missing if not key.startswith("auxiliary_head")]
    if missing:
        raise ValueError(
            f"Expected a checkpoint of this config, but it lacks {len(missing)} of its weights, "
            f"first {', '.join(missing[:3])}."
        )
    return model


def _cluster(
    embedding: ClassifierEmbedding,
    features: Tensor,
    labels: Tensor,
    right: Tensor,
    settings: SwapSettings,
) -> tuple[Tensor, Tensor]:
    """Prototypes ``(C, K, D')`` of each class, and which exist, ``(C, K)``."""
    classes, places = len(embedding.directions), settings.num_prototypes
    prototypes = torch.zeros(classes, places, len(embedding.weight))
    alive = torch.zeros(classes, places, dtype=torch.bool)
    known = labels.unique().tolist()
    for label in under_bar(known, len(known), "Clustering classes"):
        own = labels == label
        chosen = own & right if int((own & right).sum()) >= _FEW else own
        pixels = F.normalize(features[chosen] @ embedding.weight.T + embedding.bias, dim=1)
        centres = kmeans_centres(pixels, places, settings.seed)
        prototypes[label, : len(centres)] = lean(
            centres, embedding.directions[label], settings.lean
        )
        alive[label, : len(centres)] = True
    return prototypes, alive


def _fill(
    swapped: Any,
    weights: dict[str, Tensor],
    embedding: ClassifierEmbedding,
    prototypes: Tensor,
    alive: Tensor,
) -> None:
    """Load what the models have in common, and put embedding and prototypes in."""
    # All but the classifier of the last head, for which there is no place.
    swapped.load_state_dict(weights, strict=False)
    classifier = last_head(swapped).prototype_classifier
    projection = classifier.embedding.projection[-1]
    projection.weight.data.copy_(embedding.weight[..., None, None])
    projection.bias.data.copy_(embedding.bias)
    classifier.bank.seed(torch.arange(len(alive)), prototypes, alive)


@torch.no_grad()
def _scale(swapped: Any, features: Tensor, labels: Tensor) -> None:
    """Set the score scale to what makes the best probabilities on the drawn pixels."""
    classifier = last_head(swapped).prototype_classifier
    bank, scale = classifier.bank, classifier.score_scale
    # Drawn pixels are no rows of an image; the projection of a swap embeds each by itself.
    assert classifier.embedding.extent == "pixel"
    pixels = classifier.embedding(features.T[None, :, :, None])
    scores = nearest_prototypes(pixels, bank.prototypes, bank.alive_mask).class_scores
    bounds = scale.settings
    scale.log_scale.data.fill_(fit_scale(scores, labels, bounds.min, bounds.max)).log_()
