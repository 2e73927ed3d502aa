"""Pixels and prototypes in two dimensions."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from short_pair import softmax_and_prototypes
from short_runs import run_tool
from torch import Tensor

from mmseg_proto.apis.embedding_figures import class_cosines, cosine_table, shown_share
from mmseg_proto.apis.embedding_files import by_prototype, save_npz, write_maps
from mmseg_proto.apis.embedding_map import (
    EmbeddingMap,
    expect_method,
    part_of,
    project,
    sample_embeddings,
    sample_models,
    winners_of,
)
from mmseg_proto.apis.feature_sample import whole_images
from mmseg_proto.apis.trained import Trained
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.visualization.embedding_picture import FlatMap, draw_maps, spread_out

PER_CLASS, IMAGES = 15, 8


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    return softmax_and_prototypes(repository, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def maps(models: tuple[Trained, Trained]) -> list[EmbeddingMap]:
    return sample_models(models, PER_CLASS, images=IMAGES, seed=3)


def made_up(points: Tensor, labels: list[int], anchors: Tensor | None = None) -> EmbeddingMap:
    anchors = points[:1] if anchors is None else anchors
    zeros = torch.zeros(len(anchors), dtype=torch.long)
    count = max(labels) + 1
    names, palette = tuple(f"class {c}" for c in range(count)), np.full((count, 3), 9, np.uint8)
    own = torch.tensor(labels)
    return EmbeddingMap("made up", points, own, anchors, zeros, zeros, "prototypes", names, palette)


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_it_samples_evenly_unit_vectors_and_the_same_pixels_again(
    models: tuple[Trained, Trained], maps: list[EmbeddingMap]
) -> None:
    for sample in maps:
        counts = torch.bincount(sample.labels)
        assert counts.max() == PER_CLASS
        assert len(sample.points) == len(sample.labels)
        for vectors in (sample.points, sample.anchors):
            assert vectors.dtype == torch.float32
            torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
        assert len(sample.classes) == len(sample.palette) == 8
    again = sample_models(models[1:], PER_CLASS, images=IMAGES, seed=3)[0]
    assert torch.equal(again.points, maps[1].points)
    other = sample_models(models[1:], PER_CLASS, images=IMAGES, seed=4)[0]
    assert not torch.equal(other.points, maps[1].points)


def test_points_are_what_the_classifier_gets_and_anchors_what_it_compares_with(
    models: tuple[Trained, Trained], maps: list[EmbeddingMap]
) -> None:
    """All pixels of the images, embedded one by one, hold the sampled ones with their labels."""
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:IMAGES].tolist()
    for trained, sample in zip(models, maps, strict=True):
        cfg, model = trained.load()
        dataset = whole_images(cfg, cfg.train_dataloader.dataset)
        head = model.decode_head
        proto = trained.name == "proto"
        every, labels = [], []
        for image in order:
            given = dataset[image]
            batch = model.data_preprocessor(
                {"inputs": [given["inputs"]], "data_samples": [given["data_samples"]]}, False
            )
            seen: list[Tensor] = []
            part = head.prototype_classifier if proto else head.conv_seg
            handle = part.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            with torch.no_grad():
                model(batch["inputs"], batch["data_samples"], mode="tensor")
                handle.remove()
                if proto:
                    pixels = part.embedding(seen[0])
                else:
                    rows = seen[0][0].flatten(1).t()
                    pixels = rows / rows.norm(dim=1, keepdim=True)
            every.append(pixels)
            truth = given["data_samples"].gt_sem_seg.data[0]
            step = truth.shape[0] // seen[0].shape[2]
            labels.append(truth[step // 2 :: step, step // 2 :: step].flatten())
        cosines = sample.points @ torch.cat(every).t()
        best, place = cosines.max(dim=1)
        torch.testing.assert_close(best, torch.ones_like(best), rtol=0, atol=1e-5)
        assert (torch.cat(labels)[place] == sample.labels).float().mean() > 0.9
        if proto:
            bank = head.prototype_classifier.bank
            assert len(sample.anchors) == int(bank.alive.sum())
            expected = bank.prototypes[sample.anchor_labels, sample.anchor_numbers]
        else:
            weight = head.conv_seg.weight.flatten(1).detach()
            expected = weight / weight.norm(dim=1, keepdim=True)
            assert sample.anchor_labels.tolist() == list(range(8))
        torch.testing.assert_close(sample.anchors, expected, rtol=0, atol=1e-5)


def test_dead_prototypes_are_not_in_the_map(models: tuple[Trained, Trained]) -> None:
    cfg, model = models[1].load()
    bank = model.decode_head.prototype_classifier.bank
    bank.alive[2] = 0
    bank.alive[3, 1] = 0
    sample = sample_embeddings(cfg, model, "x", 2, images=1)
    pairs = list(zip(sample.anchor_labels.tolist(), sample.anchor_numbers.tolist(), strict=True))
    assert 2 not in sample.anchor_labels
    assert (3, 1) not in pairs
    assert len(pairs) == int(bank.alive.sum())


def test_pca_is_the_plane_of_most_variance() -> None:
    torch.manual_seed(1)
    sample = made_up(unit(60, 5), [0] * 60, unit(7, 5))
    points, anchors = project(sample)
    centred = sample.points.double() - sample.points.double().mean(dim=0)
    values, vectors = np.linalg.eigh((centred.t() @ centred).numpy())
    for axis, vector in enumerate(vectors.T[::-1][:2]):
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        np.testing.assert_allclose(points[:, axis], centred.numpy() @ vector, atol=1e-5)
        moved = sample.anchors.numpy() - sample.points.mean(dim=0).numpy()
        np.testing.assert_allclose(anchors[:, axis], moved @ vector, atol=1e-5)
    assert shown_share(sample) == pytest.approx(values[::-1][:2].sum() / values.sum(), rel=1e-4)


def test_pca_of_one_pixel_or_one_channel_is_no_error() -> None:
    for sample in (made_up(unit(1, 5), [0]), made_up(torch.ones(4, 1), [0] * 4)):
        points, anchors = project(sample)
        assert points.shape == (len(sample.points), 2)
        assert anchors.shape == (1, 2)
        assert np.isfinite(points).all()


def test_tsne_keeps_classes_together_and_is_the_same_again() -> None:
    pytest.importorskip("sklearn")
    torch.manual_seed(0)
    centres = torch.eye(12)[:3]
    labels = [c for c in range(3) for _ in range(20)]
    points = torch.nn.functional.normalize(centres[labels] + 0.1 * torch.randn(60, 12), dim=1)
    sample = made_up(points, labels, centres)
    laid, anchors = project(sample, "tsne", seed=1)
    distance = np.linalg.norm(laid[:, None] - laid[None], axis=2) + 1e9 * np.eye(60)
    own = np.array(labels)
    assert (own[distance.argmin(axis=1)] == own).all()
    nearest = np.linalg.norm(anchors[:, None] - laid[None], axis=2).argmin(axis=1)
    assert own[nearest].tolist() == [0, 1, 2]
    assert np.array_equal(project(sample, "tsne", seed=1)[0], laid)


@pytest.mark.parametrize(
    ("method", "module", "package"),
    [("tsne", "sklearn", "scikit-learn"), ("umap", "umap", "umap-learn")],
)
def test_what_is_not_installed_is_named(
    method: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmseg_proto.apis.embedding_map.find_spec", lambda name: None if name == module else 1
    )
    for ask in (expect_method, lambda name: project(made_up(unit(4, 3), [0] * 4), name)):
        with pytest.raises(ImportError, match=f"Expected {package} .* pip install {package}"):
            ask(method)


def test_wrong_settings_are_named(
    models: tuple[Trained, Trained], maps: list[EmbeddingMap]
) -> None:
    with pytest.raises(ValueError, match=r"Expected `method` to be one of \(.*\), but got 'lda'"):
        project(maps[0], "lda")
    for settings in ({"per_class": 0}, {"per_class": 1, "images": 0}):
        with pytest.raises(ValueError, match="to be at least 1, but got 0"):
            sample_models(models[:1], **settings)  # type: ignore[arg-type]
    expect_method("pca")


def test_cosines_are_the_means_over_pairs() -> None:
    torch.manual_seed(2)
    labels = [0, 0, 0, 1, 1, 2]
    sample = made_up(unit(6, 4), labels)
    cosines = sample.points @ sample.points.t()
    within = [
        np.mean([float(cosines[i, j]) for i in own for j in own if i != j])
        for own in ([0, 1, 2], [3, 4])
    ]
    parts = ([0, 1, 2], [3, 4], [5])
    between = [
        np.mean([float(cosines[i, j]) for i in a for j in b])
        for a in parts
        for b in parts
        if a is not b
    ]
    found = class_cosines(sample)
    assert found == pytest.approx((np.mean(within), np.mean(between)), abs=1e-5)
    assert np.isnan(class_cosines(made_up(unit(1, 4), [0]))).all()
    cells = [list(column.cells) for column in cosine_table([sample]).columns]
    assert str(cells[1][0]) == f"{found[0]:.3f}"


@pytest.mark.parametrize("seed", range(5))
def test_boxes_move_apart_and_stay_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = np.concatenate([np.full((12, 2), 50.0), rng.uniform(-20, 520, (40, 2))])
    sizes = np.stack([rng.uniform(10, 60, 52), np.full(52, 12.0)], axis=1)
    places = spread_out(wanted, sizes, (500, 500))
    assert (places - sizes / 2 >= -1e-6).all()
    assert (places + sizes / 2 <= 500 + 1e-6).all()
    gap = np.abs(places[:, None] - places[None]) - (sizes[:, None] + sizes[None]) / 2
    covered = (gap < -1).all(axis=2) & ~np.eye(52, dtype=bool)
    assert not covered.any()
    alone = np.array([[100.0, 200.0]])
    np.testing.assert_allclose(spread_out(alone, sizes[:1], (500, 500)), alone, atol=0.1)


@pytest.mark.parametrize("count", [1, 11, 150])
def test_any_number_of_classes_is_drawn_with_any_names(count: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(count).repeat(3)
    places = rng.normal(size=(3 * count, 2)).astype(np.float32)
    one = FlatMap("$a_", places, labels, places[:2], labels[:2])
    names = [f"$x^{number}_$" for number in range(count)]
    figure = draw_maps([one, one], names, np.full((count, 3), 100, dtype=np.uint8))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert len(texts) == 2 * count
    assert (names[0] in texts) == (count <= 24)
    figure.canvas.draw()


def most_winning(model: Trained, sample: EmbeddingMap, label: int, most: int) -> dict[int, Tensor]:
    """Number of each of the prototypes that win most pixels of a class, and these pixels."""
    prototypes = last_head(model.load()[1]).prototype_classifier.bank.prototypes[label]
    pixels = sample.points[sample.labels == label]
    nearest = torch.stack([pixels @ one for one in prototypes.float()]).argmax(dim=0)
    wins = [int((nearest == k).sum()) for k in range(len(prototypes))]
    order = sorted(range(len(wins)), key=lambda k: -wins[k])[:most]
    return {k: pixels[nearest == k] for k in order if wins[k]}


@pytest.mark.parametrize("most", [1, 2, 100])
def test_of_named_classes_the_prototypes_that_win_most_are_shown(
    models: tuple[Trained, Trained], maps: list[EmbeddingMap], most: int
) -> None:
    names = ["vegetation", "sky"]
    softmax, proto = sample_models(
        models, PER_CLASS, images=IMAGES, seed=3, names=names, prototypes=most
    )
    assert proto.classes == softmax.classes == tuple(names)
    for own, name in enumerate(names):
        label = maps[1].classes.index(name)
        assert proto.palette[own].tolist() == maps[1].palette[label].tolist()
        expected = most_winning(models[1], maps[1], label, most)
        numbers = proto.anchor_numbers[proto.anchor_labels == own].tolist()
        assert sorted(expected) == sorted(numbers)
        shown = proto.points[proto.labels == own]
        assert len(shown) == sum(map(len, expected.values()))
        winners = winners_of(proto)[proto.labels == own]
        for number, pixels in expected.items():
            assert torch.equal(shown[proto.anchor_numbers[winners] == number], pixels)
        # A softmax model has one vector a class, and all of its pixels are shown.
        assert torch.equal(
            softmax.points[softmax.labels == own], maps[0].points[maps[0].labels == label]
        )
        assert torch.equal(softmax.anchors[softmax.anchor_labels == own][0], maps[0].anchors[label])
    assert set(proto.labels.tolist()) == set(proto.anchor_labels.tolist()) == {0, 1}
    # The plane is that of the pixels that are shown.
    points, _ = project(proto)
    centred = proto.points - proto.points.mean(dim=0)
    expected_variance = torch.linalg.eigvalsh(centred.t() @ centred)[-2:].sum()
    assert float(np.square(points).sum()) == pytest.approx(float(expected_variance), rel=1e-3)


def test_classes_alone_keep_all_prototypes_and_pixels(maps: list[EmbeddingMap]) -> None:
    part = part_of(maps[1], [3, 0])
    assert part.classes == (maps[1].classes[3], maps[1].classes[0])
    for own, label in enumerate((3, 0)):
        assert torch.equal(part.points[part.labels == own], maps[1].points[maps[1].labels == label])
        places = maps[1].anchor_labels == label
        assert torch.equal(part.anchors[part.anchor_labels == own], maps[1].anchors[places])
    whole = part_of(maps[1], None)
    assert torch.equal(whole.points, maps[1].points)
    assert whole.classes == maps[1].classes


def three_clusters() -> EmbeddingMap:
    """Class 0 has 1 pixel at prototype 4, 3 at 7 and 2 at 9; class 1 has 1 at its only one.

    A pixel of class 2 has no prototype of its own.
    """
    axes = torch.eye(5)
    sample = made_up(axes[[0, 1, 1, 1, 2, 2, 3, 4]], [0, 0, 0, 0, 0, 0, 1, 2], axes[:4])
    labels, numbers = torch.tensor([0, 0, 0, 1]), torch.tensor([4, 7, 9, 2])
    return replace(sample, anchor_labels=labels, anchor_numbers=numbers)


def test_parts_of_a_map_counted_by_hand() -> None:
    sample = three_clusters()
    assert winners_of(sample).tolist() == [0, 1, 1, 1, 2, 2, 3, -1]
    part = part_of(sample, [1, 0], 2)
    assert part.anchor_numbers.tolist() == [7, 9, 2]
    assert part.anchor_labels.tolist() == [1, 1, 0]
    assert part.labels.tolist() == [1, 1, 1, 1, 1, 0]
    assert part.classes == ("class 1", "class 0")
    assert part_of(sample, None, 1).anchor_numbers.tolist() == [7, 2]
    assert part_of(sample, [2]).labels.tolist() == [0]
    with pytest.raises(ValueError, match="pixels of 'class 2' to show of made up, but .* none"):
        part_of(sample, [0, 2], 2)
    first, second = by_prototype([replace(part_of(sample, [1, 0]), kind="class vectors"), part])
    names = ("class 1", "class 0", "class 0 #7", "class 0 #9", "class 1 #2")
    assert first.classes == second.classes == names
    assert first.labels.tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert second.labels.tolist() == [2, 2, 2, 3, 3, 4]
    assert second.anchor_labels.tolist() == [2, 3, 4]
    assert len(np.unique(second.palette, axis=0)) == len(second.palette) == 5


def test_wrong_classes_and_prototypes_are_named_before_an_image_is_looked_at(
    models: tuple[Trained, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmseg_proto.apis.embedding_map.sample_embeddings", None)
    with pytest.raises(ValueError, match="one of the classes .*'sky', .* but got 'Sky'.*'sky'?"):
        sample_models(models, 5, names=["person", "Sky"])
    with pytest.raises(ValueError, match="Expected `prototypes` to be at least 1, but got 0"):
        sample_models(models, 5, prototypes=0)
    with pytest.raises(ValueError, match="a model with prototypes to show 2 of each class, but"):
        sample_models(models[:1], 5, prototypes=2)


def test_a_mark_is_not_hidden_by_the_name_of_its_class() -> None:
    """The mean of the pixels is the place of the prototype."""
    places = np.array([[0, 0], [2, 2], [1, 1]], dtype=np.float32)
    labels = np.zeros(3, dtype=np.int64)
    one = FlatMap("title", places, labels, places[2:], labels[:1])
    figure = draw_maps([one], ["a name"], np.full((1, 3), 100, dtype=np.uint8))
    figure.canvas.draw()
    (axes,) = figure.axes
    box = axes.texts[0].get_window_extent()
    x, y = axes.transData.transform((1, 1))
    assert box.x0 < x < box.x1
    assert y < box.y0


def test_files_hold_what_was_sampled(maps: list[EmbeddingMap], tmp_path: Path) -> None:
    odd = [replace(one, title="[b]$x$") for one in maps]
    places = [project(one) for one in odd]
    save_npz(odd, places, tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as found:
        for number, (one, (points, anchors)) in enumerate(zip(odd, places, strict=True)):
            assert np.array_equal(found[f"points_2d_{number}"], points)
            assert np.array_equal(found[f"anchors_2d_{number}"], anchors)
            assert np.array_equal(found[f"points_{number}"], one.points.numpy())
            assert found[f"classes_{number}"].tolist() == list(one.classes)
            winners = found[f"winners_{number}"]
            assert np.array_equal(one.anchor_labels.numpy()[winners], one.labels.numpy())
            assert str(found[f"title_{number}"]) == "[b]$x$"
    write_maps(odd, places, "pca", tmp_path / "map.png")
    picture = cv2.imread(str(tmp_path / "map.png"))
    assert picture is not None
    assert picture.shape[1] > 1000
    with pytest.raises(ValueError, match="nonsense"):
        write_maps(odd, places, "pca", tmp_path / "map.nonsense")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.npz", "map.png"]


def test_the_command_draws_two_models_and_overwrites_nothing(
    models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    softmax, proto = ((model.config, model.checkpoint) for model in models)
    options = ["--against", *softmax, "-o", tmp_path / "map.png", "--per-class", 5, "--images", 3]
    done = run_tool("embedding_map", *proto, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Mean cosine" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.npz", "map.png"]
    again = run_tool("embedding_map", *proto, *options)
    assert again.returncode != 0
    assert "map.png is there. Overwrite it with --force" in again.stderr


def test_the_command_draws_one_cluster_of_one_class(
    models: tuple[Trained, Trained], tmp_path: Path
) -> None:
    softmax, proto = ((model.config, model.checkpoint) for model in models)
    options = ["-o", tmp_path / "map.png", "--per-class", 20, "--images", 3, "--classes", "ground"]
    done = run_tool("embedding_map", *proto, "--against", *softmax, *options, "--prototypes", 1)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "map.npz") as found:
        assert found["classes_0"].tolist() == found["classes_1"].tolist() == ["ground"]
        assert found["anchors_0"].shape[0] == 1
        assert found["anchor_labels_1"].tolist() == [0]
        assert set(found["winners_1"].tolist()) == {0}
        assert found["points_2d_1"].shape == (len(found["labels_1"]), 2)
        assert len(found["labels_1"]) < len(found["labels_0"]) == 20
    picture = cv2.imread(str(tmp_path / "map.png"))
    assert picture is not None
