"""Whoever embeds uses the embeddings of the model itself, though a pixel's depends on its row."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor
from torch.utils.data import DataLoader

import mmseg_proto.apis.new_class as new_class
import mmseg_proto.hooks.kmeans_seeding as kmeans_seeding
from mmseg_proto.apis.embedding_map import sample_embeddings
from mmseg_proto.apis.feature_sample import whole_images
from mmseg_proto.apis.gallery import build_gallery
from mmseg_proto.apis.new_class import NewClassSettings, seed_new_class
from mmseg_proto.apis.report_pictures import ask_pictures
from mmseg_proto.datasets.synthetic import CLASSES

LENGTH = 6
#: Of 64 x 96 pixels; in the model padded to 80 x 160, at stride 4.
PADDED, INSIDE = (20, 40), (16, 24)


@pytest.fixture
def built(repository: Path) -> tuple[Config, Any]:
    """Config and model with random weights, prototypes and a projection over rows."""
    cfg = Config.fromfile(repository / "configs" / "proto_demo_synthetic.py")
    small = {f"{split}_dataloader.dataset.length": LENGTH for split in ("train", "val")}
    cfg.merge_from_dict(
        {
            **small,
            "train_dataloader.batch_size": 2,
            "model.backbone.init_cfg": None,
            "model.decode_head.channels": 16,
            "model.decode_head.num_prototypes": 3,
            "model.decode_head.projection": {"out_channels": 8, "normalize": True},
            "model.decode_head.seeding": {"source": "kmeans", "batches": 2},
            "model.data_preprocessor.size": (80, 160),
            "model.data_preprocessor.test_cfg": {"size_divisor": 80},
        }
    )
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.dataset_meta = {"classes": CLASSES, "palette": [[c, c, c] for c in range(len(CLASSES))]}
    classifier = model.decode_head.prototype_classifier
    prototypes = F.normalize(torch.randn(len(CLASSES), 3, 8), dim=2)
    exist = torch.ones(len(CLASSES), 3, dtype=torch.bool)
    classifier.bank.seed(torch.arange(len(CLASSES)), prototypes, exist)
    assert classifier.embedding.extent == "row"
    return cfg, model


@torch.no_grad()
def own_embeddings(model: Any, sample: Any) -> Tensor:
    """What the forward pass of the model computes itself, where the image is, ``(H*W, D)``."""
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    found: list[Tensor] = []
    handle = model.decode_head.prototype_classifier.embedding.register_forward_hook(
        lambda _, __, out: found.append(out)
    )
    model(batch["inputs"], batch["data_samples"], mode="tensor")
    handle.remove()
    (whole,) = found
    return inside(whole)


def inside(whole: Tensor) -> Tensor:
    """Cut the padding off pixels of a padded map, ``(N, D)``."""
    cut: Tensor = whole.reshape(*PADDED, whole.shape[1])[: INSIDE[0], : INSIDE[1]]
    return cut.flatten(0, 1)


def images_of(cfg: Config, split: str) -> Any:
    return whole_images(cfg, cfg[f"{split}_dataloader"].dataset)


def nearest_cosine(model: Any, embeddings: Tensor) -> Tensor:
    prototypes = model.decode_head.prototype_classifier.bank.directions.flatten(0, 1)
    nearest: Tensor = (embeddings @ prototypes.t()).amax(dim=1)
    return nearest


def gallery(cfg: Config, model: Any, _: pytest.MonkeyPatch) -> None:
    found = build_gallery(cfg, model, examples=2)
    assert set(found.sizes.values()) == {INSIDE}
    cosine, place = found.sightings
    for prototype, number in cosine.isfinite().nonzero().tolist():
        image, row, column, _label = place[prototype, number].tolist()
        nearest = nearest_cosine(model, own_embeddings(model, found.dataset[image]))
        expected = nearest[row * INSIDE[1] + column]
        torch.testing.assert_close(cosine[prototype, number], expected, rtol=0, atol=1e-5)


def embedding_map(cfg: Config, model: Any, _: pytest.MonkeyPatch) -> None:
    sample = sample_embeddings(cfg, model, "all", 10**6)
    check_among(sample.points, model, images_of(cfg, "train"))
    labels = [item["data_samples"].gt_sem_seg.data for item in images_of(cfg, "train")]
    # Stride 4: each pixel of the feature map is a label's, and all are kept.
    known = sum(int((label[..., 2::4, 2::4] < len(CLASSES)).sum()) for label in labels)
    assert len(sample.points) == known > 0


def report_pictures(cfg: Config, model: Any, _: pytest.MonkeyPatch) -> None:
    for picture, sample in zip(
        ask_pictures(cfg, model, LENGTH), images_of(cfg, "val"), strict=True
    ):
        assert picture.size == INSIDE
        expected = nearest_cosine(model, own_embeddings(model, sample))
        torch.testing.assert_close(picture.found.cosine, expected, rtol=0, atol=1e-5)


def added_class(cfg: Config, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clustered = recorded_clusters(monkeypatch, new_class)
    settings = NewClassSettings(images=3, pixels=50, num_prototypes=3, steps=0)
    seed_new_class(cfg, model, CLASSES[-1], settings)
    check_among(torch.cat(clustered), model, images_of(cfg, "train"))


def kmeans_seeding_pass(cfg: Config, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of training are padded, too."""
    clustered = recorded_clusters(monkeypatch, kmeans_seeding)
    model.decode_head.prototype_classifier.bank.alive.zero_()
    images = images_of(cfg, "train")
    loader = DataLoader(images, batch_size=2, collate_fn=pseudo_collate)
    runner: Any = SimpleNamespace(train_dataloader=loader, logger=logging.getLogger())
    kmeans_seeding.seed_by_kmeans(runner, model, model.decode_head)
    check_among(torch.cat(clustered), model, images)


def head_embed(cfg: Config, model: Any, _: pytest.MonkeyPatch) -> None:
    sample = images_of(cfg, "train")[0]
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    found, labels = model.decode_head.embed(
        model.extract_feat(batch["inputs"]), batch["data_samples"]
    )
    assert len(found) == len(labels) == PADDED[0] * PADDED[1]
    torch.testing.assert_close(inside(found), own_embeddings(model, sample), rtol=0, atol=1e-6)


def recorded_clusters(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[Tensor]:
    """Points that a module clusters from now on."""
    clustered: list[Tensor] = []
    plain = module.kmeans_centres

    def recorded(points: Tensor, clusters: int, seed: int) -> Tensor:
        clustered.append(points)
        centres: Tensor = plain(points, clusters, seed)
        return centres

    monkeypatch.setattr(module, "kmeans_centres", recorded)
    return clustered


def check_among(points: Tensor, model: Any, dataset: Any) -> None:
    """Each point is the embedding of some pixel."""
    every = torch.cat([own_embeddings(model, sample) for sample in dataset])
    distance = torch.cdist(points, every, compute_mode="donot_use_mm_for_euclid_dist")
    assert len(points) > 0
    assert float(distance.amin(dim=1).max()) < 1e-5


USERS = [
    gallery,
    embedding_map,
    report_pictures,
    added_class,
    kmeans_seeding_pass,
    head_embed,
]


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__)
def test_embeddings_are_those_of_the_forward_pass(
    user: Callable[[Config, Any, pytest.MonkeyPatch], None],
    built: tuple[Config, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user(*built, monkeypatch)


def test_cutting_the_padding_first_gives_others(built: tuple[Config, Any]) -> None:
    """By a hundred times the tolerance of the table above, which would else say nothing."""
    cfg, model = built
    sample = images_of(cfg, "val")[0]
    features: list[Tensor] = []
    classifier = model.decode_head.prototype_classifier
    handle = classifier.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    own = own_embeddings(model, sample)
    handle.remove()
    with torch.no_grad():
        cut = classifier.embedding(features[0][..., : INSIDE[0], : INSIDE[1]])
    assert float((cut - own).abs().amax()) > 1e-3
