"""A trained softmax model becomes a prototype model, with one pass over its training data."""

import copy
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mmseg_proto.hooks.checkpoint_files import load_weights
from mmseg_proto.hooks.kmeans_seeding import kmeans_centres
from mmseg_proto.ops import expect_number, nearest_prototypes, sample_labels
from mmseg_proto.prototypes import ClassifierEmbedding, classifier_embedding, fit_scale, lean

from .config_swap import is_swapped, last_stage, write_swap
from .whole_files import written_whole

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
        if path.exists() and not force:
            raise FileExistsError(
                f"Expected a new file, but {path} is there. Overwrite it with --force."
            )
    loaded = load_weights(checkpoint)
    weights = dict(loaded.get("state_dict", loaded))
    with tempfile.TemporaryDirectory() as folder:
        # Says what cannot be swapped before the data is looked at.
        notes = write_swap(config, Path(folder) / "draft.py")
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get("default_scope") or "mmseg")
    model = _build(cfg, weights).to(device)
    classifier = _last_head(model).conv_seg
    features, labels = _draw(cfg, model, settings)
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


def compare(
    config: Path,
    checkpoint: Path,
    swapped: SwappedCheckpoint,
    *,
    fine_tune_for: int | None = None,
    evaluated: bool = True,
) -> dict[str, float]:
    """Validate a model before and after the swap, and after training on if asked for.

    Args:
        config: Config of the softmax model.
        checkpoint: Its checkpoint.
        swapped: What was made of them.
        fine_tune_for: Iterations to train on, beside the swapped checkpoint in a folder
            ``fine_tuned``. Defaults to None: none.
        evaluated: Whether to validate. Defaults to True.

    Returns:
        dict[str, float]: mIoU in percent by the name of the model.
    """
    models = {"softmax": (config, checkpoint), "swapped": (swapped.config, swapped.checkpoint)}
    if fine_tune_for is not None:
        tuned = fine_tune(swapped, fine_tune_for, swapped.config.parent / "fine_tuned")
        models[f"after {fine_tune_for} iterations"] = swapped.config, tuned
    return {name: evaluate(*model) for name, model in models.items()} if evaluated else {}


def evaluate(config: Path, checkpoint: Path) -> float:
    """Validate a checkpoint with its config.

    Args:
        config: The config.
        checkpoint: The checkpoint.

    Returns:
        float: mIoU in percent.
    """
    with tempfile.TemporaryDirectory() as folder:
        cfg = Config.fromfile(config)
        own = {"work_dir": folder, "load_from": str(checkpoint), "resume": False}
        cfg.merge_from_dict({**own, "visualizer.vis_backends": []})
        _rename(cfg, Path(folder).name)
        return float(Runner.from_cfg(cfg).val()["mIoU"])


def fine_tune(swapped: SwappedCheckpoint, iterations: int, work_dir: Path) -> Path:
    """Train a swapped model on, with a tenth of its config's rate, falling to nothing.

    Args:
        swapped: The model.
        iterations: Training iterations, at least 1.
        work_dir: Folder for the run.

    Returns:
        Path: The checkpoint at the end.
    """
    cfg = Config.fromfile(swapped.config)
    cfg.work_dir, cfg.load_from = str(work_dir), str(swapped.checkpoint)
    cfg.optim_wrapper.optimizer.lr = cfg.optim_wrapper.optimizer.lr / 10
    cfg.param_scheduler = [
        {"type": "PolyLR", "power": 1.0, "begin": 0, "end": iterations, "by_epoch": False}
    ]
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": iterations,
        "val_interval": iterations,
    }
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=iterations)
    _rename(cfg, f"{swapped.config.stem}_{iterations}")
    Runner.from_cfg(cfg).train()
    return work_dir / f"iter_{iterations}.pth"


def _rename(cfg: Config, name: str) -> None:
    """Give a run a name of its own: mmengine keeps visualisers by name, their folders with them."""
    cfg.experiment_name = name
    cfg.merge_from_dict({"visualizer.name": name})


def _build(cfg: Config, weights: dict[str, Tensor]) -> Any:
    """Build the softmax model and load its weights, all of them."""
    if is_swapped(last_stage(cfg.model.decode_head)):
        raise ValueError("Expected a softmax model, but its decode head has prototypes already.")
    settings = copy.deepcopy(cfg.model)
    settings.pretrained = None
    settings.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(settings)).eval()
    missing = model.load_state_dict(weights, strict=False).missing_keys
    missing = [key for key in missing if not key.startswith("auxiliary_head")]
    if missing:
        raise ValueError(
            f"Expected a checkpoint of this config, but it lacks {len(missing)} of its weights, "
            f"first {', '.join(missing[:3])}."
        )
    return model


def _last_head(model: nn.Module) -> Any:
    head: Any = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _samples(cfg: Config, images: int | None, seed: int) -> Iterator[Any]:
    """Yield training samples as validation would see them: whole, without augmentation."""
    settings = copy.deepcopy(cfg.train_dataloader.dataset)
    innermost = settings
    while "dataset" in innermost:
        innermost = innermost.dataset
    innermost.pipeline = cfg.val_dataloader.dataset.pipeline
    dataset = DATASETS.build(settings)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator)[:images].tolist()
    bar = track(order, description="Looking at training images", console=Console(stderr=True))
    for index in bar:
        yield dataset[index]


@torch.no_grad()
def _draw(cfg: Config, model: Any, settings: SwapSettings) -> tuple[Tensor, Tensor]:
    """Draw features of each class evenly from all its pixels: ``(N, D)`` and labels ``(N,)``."""
    head = _last_head(model)
    seen: list[Tensor] = []
    handle = head.conv_seg.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    reservoir = _Reservoir(head.num_classes, settings.pixels, settings.seed)
    for sample in _samples(cfg, settings.images, settings.seed):
        batch = model.data_preprocessor(pseudo_collate([sample]), False)
        seen.clear()
        model(batch["inputs"], batch["data_samples"], mode="tensor")
        features = _without_padding(seen[-1], batch)
        labels = torch.stack([s.gt_sem_seg.data for s in batch["data_samples"]])[:, 0].cpu()
        height, width = features.shape[-2:]
        labels = sample_labels(labels, (height, width), head.align_corners).flatten()
        reservoir.add(features.permute(0, 2, 3, 1).flatten(0, 2).float().cpu(), labels)
    handle.remove()
    return reservoir.take()


def _without_padding(features: Tensor, batch: dict[str, Any]) -> Tensor:
    """Cut off what stands for padding at the right and below, which has no labels."""
    height, width = (
        math.ceil(size * inside / padded)
        for size, inside, padded in zip(
            features.shape[-2:],
            batch["data_samples"][0].img_shape[:2],
            batch["inputs"].shape[-2:],
            strict=True,
        )
    )
    return features[..., :height, :width]


class _Reservoir:
    """An even sample of the pixels of each class, of bounded size.

    Every pixel gets a random number, and those with the smallest ones stay.
    """

    def __init__(self, num_classes: int, limit: int, seed: int) -> None:
        self._limit = limit
        self._generator = torch.Generator().manual_seed(seed)
        self._kept: list[tuple[Tensor, Tensor] | None] = [None] * num_classes

    def add(self, features: Tensor, labels: Tensor) -> None:
        number = torch.rand(len(labels), generator=self._generator)
        for label in labels.unique().tolist():
            if not 0 <= label < len(self._kept):
                continue  # ignored
            own = labels == label
            numbers, pixels = number[own], features[own]
            before = self._kept[label]
            if before is not None:
                numbers, pixels = torch.cat([before[0], numbers]), torch.cat([before[1], pixels])
            first = numbers.argsort()[: self._limit]
            self._kept[label] = numbers[first], pixels[first]

    def take(self) -> tuple[Tensor, Tensor]:
        kept = [(c, pair[1]) for c, pair in enumerate(self._kept) if pair is not None]
        if not kept:
            raise ValueError("Expected training images with labels, but no pixel has one.")
        labels = torch.cat([torch.full((len(pixels),), c) for c, pixels in kept])
        return torch.cat([pixels for _, pixels in kept]), labels


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
    for label in labels.unique().tolist():
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
    classifier = _last_head(swapped).prototype_classifier
    projection = classifier.embedding.projection[-1]
    projection.weight.data.copy_(embedding.weight[..., None, None])
    projection.bias.data.copy_(embedding.bias)
    classifier.bank.seed(torch.arange(len(alive)), prototypes, alive)


@torch.no_grad()
def _scale(swapped: Any, features: Tensor, labels: Tensor) -> None:
    """Set the score scale to what makes the best probabilities on the drawn pixels."""
    classifier = _last_head(swapped).prototype_classifier
    bank, scale = classifier.bank, classifier.score_scale
    pixels = classifier.embedding(features.T[None, :, :, None])
    scores = nearest_prototypes(pixels, bank.prototypes, bank.alive_mask).class_scores
    bounds = scale.settings
    scale.log_scale.data.fill_(fit_scale(scores, labels, bounds.min, bounds.max)).log_()
