import copy
import pickle
from typing import Any

import pytest
import reference
import torch
from mmengine.registry import init_default_scope
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from toy import make_samples

from mmseg_proto import ProtoDecodeHead
from mmseg_proto.heads import classifier as classifier_module
from mmseg_proto.heads.classifier import LabelledPixels

INPUTS = [torch.randn(2, 8, 12, 16, generator=torch.Generator().manual_seed(0))]


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


def build(**arguments: Any) -> Any:
    config = {
        "type": "ProtoDecodeHead",
        "decoder": "FCNHead",
        "in_channels": 8,
        "channels": 16,
        "num_classes": 4,
        "num_convs": 1,
        "num_prototypes": 3,
        "norm_cfg": {"type": "BN"},
    }
    torch.manual_seed(0)
    return MODELS.build({**config, **arguments})


def make_labels(classes: int = 3) -> Tensor:
    labels = torch.randint(0, classes, (2, 24, 32), generator=torch.Generator().manual_seed(1))
    labels[0, :3] = 255
    return labels


def train_step(head: Any, labels: Tensor, iteration: int = 0) -> dict[str, Tensor]:
    head.attach_hook()
    head.prototype_classifier.begin_step(iteration)
    losses: dict[str, Tensor] = head.loss(INPUTS, make_samples(labels), {})
    head.prototype_classifier.end_step(update=True)
    return losses


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for key, value in losses.items() if "loss" in key]).sum()


def test_is_the_decoder_without_its_classifier() -> None:
    head = build()
    assert isinstance(head, FCNHead)
    assert isinstance(head, ProtoDecodeHead)
    assert type(head) is type(build())
    softmax = MODELS.build(
        {"type": "FCNHead", "in_channels": 8, "channels": 16, "num_classes": 4, "num_convs": 1}
        | {"norm_cfg": {"type": "BN"}}
    )
    ours = {k for k in head.state_dict() if not k.startswith("prototype_classifier.")}
    assert ours == {k for k in softmax.state_dict() if not k.startswith("conv_seg.")}
    head.init_weights()  # the default init_cfg names conv_seg


def test_decoder_may_be_a_class() -> None:
    assert type(build(decoder=FCNHead)) is type(build())


def test_logits_match_reference() -> None:
    head = build(dropout_ratio=0)
    train_step(head, make_labels())
    head.eval()
    feats = head._forward_feature(INPUTS)
    logits = head(INPUTS)
    bank = head.prototype_classifier.bank
    pixels = nn.functional.layer_norm(feats.permute(0, 2, 3, 1).flatten(0, 2), (16,))
    pixels = nn.functional.normalize(pixels, dim=1)
    scores = reference.class_scores(pixels, bank.prototypes, bank.alive_mask)
    expected = 10 * scores.view(2, 12, 16, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(logits, expected.float(), rtol=1e-4, atol=1e-4)
    # Class 3 was never seen: it has the floor and wins nowhere.
    assert torch.equal(logits[:, 3], torch.full_like(logits[:, 3], -10.0))
    assert not (logits.argmax(1) == 3).any()


def test_losses_match_reference() -> None:
    head = build(dropout_ratio=0, feature_norm=None, loss_prototype={"contrast_weight": 1.0})
    labels = make_labels()
    train_step(head, labels)
    feats = head._forward_feature(INPUTS).detach()
    losses = train_step(head, labels, iteration=1)
    bank = head.prototype_classifier.bank
    # The second step's losses come from the prototypes before its update.
    head_before = build(dropout_ratio=0, feature_norm=None)
    train_step(head_before, labels)
    prototypes = head_before.prototype_classifier.bank.prototypes
    pixels = nn.functional.normalize(feats.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    # Centres of the 2x2 blocks of the label map, as nearest-exact picks them.
    small = labels[:, 1::2, 1::2].flatten()
    small = torch.where(small == 255, -1, small)
    own = torch.einsum("nd,nkd->nk", pixels, prototypes[small.clamp(min=0)])
    plan = reference.within_class_sinkhorn(own, small, bank.alive_mask, 0.05, 3)
    assignment = plan.argmax(1)
    contrast = reference.contrast(pixels, small, assignment, prototypes, bank.alive_mask, 0.1, 1.0)
    distance = reference.distance(pixels, small, assignment, prototypes, 1.0)
    # Divided by all pixels, as the host's cross-entropy does.
    share = float((labels != 255).double().mean())
    assert share < 1
    assert losses["loss_ppc"].item() == pytest.approx(share * contrast, rel=1e-4)
    assert losses["loss_ppd"].item() == pytest.approx(share * 0.1 * distance, rel=1e-4)
    moved = reference.moved_prototypes(prototypes, pixels, small, assignment, 0.999)
    torch.testing.assert_close(bank.prototypes, moved.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pixels_that_move", "expected"),
    # Two of class 0 are right; none of class 1 is: it is skipped, or all three of its pixels move.
    [("correct", [2, 0, 0, 0]), ("correct_or_all", [2, 3, 0, 0])],
)
def test_which_pixels_move_prototypes(pixels_that_move: str, expected: list[int]) -> None:
    head = build(update={"pixels": pixels_that_move})
    train_step(head, make_labels())
    classifier = head.prototype_classifier
    counts: list[Tensor] = []
    classifier.bank.accumulate = lambda statistics: counts.append(statistics.counts.sum(1))
    pixels = LabelledPixels(
        embeddings=torch.zeros(8, 16),
        labels=torch.tensor([0, 0, 0, 1, 1, 1, -1, -1]),
        own_similarity=torch.zeros(8, 3),
        log_partition=torch.zeros(8),
        predicted=torch.tensor([0, 1, 0, 2, 2, 0, 0, 1]),
    )
    classifier.assign(pixels, keep=True)
    assert counts[0].tolist() == expected


def test_predicted_is_the_class_of_the_largest_logit() -> None:
    head = build(dropout_ratio=0, update={"pixels": "correct"})
    train_step(head, make_labels())
    feats = head._forward_feature(INPUTS)
    labels = make_labels()[:, 1::2, 1::2].flatten()
    labels = labels.masked_fill(labels == 255, -1)
    logits, pixels = head.prototype_classifier.forward_labelled(feats, labels, 0.1)
    assert pixels.predicted is not None
    assert torch.equal(pixels.predicted, logits.argmax(1).flatten())


def test_dropout_comes_before_a_projection_only() -> None:
    for projection, expected in ((None, False), ({}, True)):
        head = build(dropout_ratio=0.9, projection=projection)
        train_step(head, make_labels())
        feats = head._forward_feature(INPUTS)
        differ = not torch.equal(head.cls_seg(feats), head.cls_seg(feats))
        assert differ is expected


def test_every_parameter_gets_a_gradient_and_prototypes_none() -> None:
    head = build(projection={"out_channels": 5})
    total(train_step(head, make_labels())).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    names = {name for name, _ in head.named_parameters()}
    assert not any("bank" in name for name in names)
    assert "prototype_classifier.bank.prototypes" in head.state_dict()


@pytest.mark.parametrize("labels", [torch.full((2, 24, 32), 255), torch.zeros(2, 24, 32).long()])
def test_fully_ignored_or_single_class_batch_trains_on(labels: Tensor) -> None:
    head = build()
    train_step(head, make_labels())
    before = head.prototype_classifier.bank.prototypes.clone()
    losses = train_step(head, labels, iteration=1)
    total(losses).backward()
    assert all(value.isfinite().all() for value in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    moved = (head.prototype_classifier.bank.prototypes != before).flatten(1).any(1)
    assert moved.tolist() == [bool((labels == c).any()) for c in range(4)]


def test_fully_ignored_first_batch() -> None:
    head = build()
    losses = train_step(head, torch.full((2, 24, 32), 255))
    total(losses).backward()
    assert total(losses).item() == 0
    assert head.prototype_classifier.bank.alive.sum() == 0
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_class_that_vanishes_at_feature_size() -> None:
    labels = make_labels()
    labels[:, ::2, ::2] = 3  # positions between those that the feature map samples
    head = build()
    losses = train_step(head, labels)
    total(losses).backward()
    assert head.prototype_classifier.bank.alive_mask.any(1).tolist() == [True, True, True, False]
    assert all(value.isfinite().all() for value in losses.values())
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    # Its pixels are ignored: the loss is that of a map without them.
    same = build()
    expected = train_step(same, torch.where(labels == 3, 255, labels))
    torch.testing.assert_close(losses["loss_ce"], expected["loss_ce"])


def test_late_class_is_seeded_when_it_comes() -> None:
    head = build()
    train_step(head, make_labels(), iteration=0)
    classifier = head.prototype_classifier
    train_step(head, make_labels(classes=4), iteration=101)  # not a look: neither early nor due
    assert not classifier.bank.alive_mask[3].any()
    train_step(head, make_labels(classes=4), iteration=120)
    assert classifier.bank.alive_mask.all()


def test_evaluation_changes_no_state() -> None:
    head = build()
    train_step(head, make_labels())
    head.eval()
    state = copy.deepcopy(head.state_dict())
    head(INPUTS)
    head.loss(INPUTS, make_samples(make_labels(classes=4)), {})
    for name, value in head.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert head.prototype_classifier.bank._pending is None


def test_training_without_hook_is_refused() -> None:
    head = build()
    with pytest.raises(
        RuntimeError, match=r"default_hooks = dict\(prototype=dict\(type='PrototypeUpdateHook'\)\)"
    ):
        head.loss(INPUTS, make_samples(make_labels()), {})


WEIGHTED = {"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 50}},
        {"sampler": {"type": "OHEMPixelSampler", "min_kept": 50}, "loss_decode": [WEIGHTED]},
        {"loss_decode": [WEIGHTED, {"type": "DiceLoss", "loss_weight": 3.0}]},
        {"loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True}},
        {"align_corners": True},
        {"ignore_index": 7},
        {"ignore_index": 2},
    ],
)
def test_host_options_keep_working(options: dict[str, Any]) -> None:
    head = build(**options)
    labels = make_labels()
    losses = train_step(head, torch.where(labels == 255, head.ignore_index, labels))
    alive = head.prototype_classifier.bank.alive_mask.any(1).tolist()
    assert alive == [True, True, head.ignore_index != 2, False]
    host = {"loss_ce", "loss_dice"} if "DiceLoss" in str(options) else {"loss_ce"}
    assert set(losses) == host | {"acc_seg", "loss_ppc", "loss_ppd"}
    assert all(value.isfinite().all() for value in losses.values())
    total(losses).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    head = build(projection={"out_channels": 6})
    with torch.autocast("cpu", dtype=dtype):
        losses = train_step(head, make_labels())
    total(losses).backward()
    assert head.prototype_classifier.bank.prototypes.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_copies_and_pickles() -> None:
    head = build()
    train_step(head, make_labels())
    head.eval()
    for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert type(twin) is type(head)
        assert torch.equal(twin(INPUTS), head(INPUTS))


def test_random_seeding_exists_from_the_start() -> None:
    head = build(seeding={"source": "random"})
    bank = head.prototype_classifier.bank
    assert bank.alive_mask.all()
    assert torch.equal(
        bank.prototypes, build(seeding={"source": "random"}).prototype_classifier.bank.prototypes
    )
    before = bank.prototypes.clone()
    train_step(head, make_labels(classes=4))
    assert torch.nn.functional.cosine_similarity(bank.prototypes, before, dim=2).min() > 0.99


def test_scale_stays_within_its_bounds() -> None:
    head = build(score_scale={"init": 20.0, "max": 20.0})
    train_step(head, make_labels())
    head.prototype_classifier.score_scale.log_scale.data += 1
    train_step(head, make_labels())
    assert head.prototype_classifier.health()["scale"] == pytest.approx(20.0)
    fixed = build(score_scale={"init": 12.0, "learnable": False})
    assert "prototype_classifier.score_scale.log_scale" not in dict(fixed.named_parameters())
    assert "prototype_classifier.score_scale.log_scale" in fixed.state_dict()


def test_what_nothing_wins_is_seeded_anew() -> None:
    head = build(dropout_ratio=0, seeding={"revive_interval": 30, "interval": 1000})
    train_step(head, make_labels())
    bank = head.prototype_classifier.bank
    # Far from all pixels: embeddings add up to 0 over channels, so this one is at a right angle.
    lost = torch.full((16,), 0.25)
    bank.prototypes[1, 2] = lost
    bank.updates.fill_(30)
    bank.usage[1, 2] = 0
    train_step(head, make_labels(), iteration=29)
    assert bank.prototypes[1, 2] @ lost > 0.9
    bank.usage[1, 2] = 0
    train_step(head, make_labels(), iteration=30)
    assert bank.alive[1].all()
    assert bank.prototypes[1, 2] @ lost < 0.5
    assert bank.updates[1, 2] == 1


def test_drawn_pixels_stand_for_all_in_losses_and_clustering() -> None:
    head = build(dropout_ratio=0)
    whole = train_step(head, make_labels())
    few = build(dropout_ratio=0, clustering={"num_pixels": 30})
    train_step(few, make_labels())
    bank = few.prototype_classifier.bank
    state = copy.deepcopy(bank.state_dict())
    drawn: list[dict[str, Tensor]] = []
    for _ in range(40):
        bank.load_state_dict(head.prototype_classifier.bank.state_dict())
        drawn.append(train_step(few, make_labels(), iteration=1))
    bank.load_state_dict(state)
    whole = train_step(head, make_labels(), iteration=1)
    for key in ("loss_ppc", "loss_ppd"):
        values = torch.stack([losses[key].detach() for losses in drawn])
        assert values.std() > 1e-4
        # Assignments differ a little, since so few pixels are balanced among themselves.
        assert float(values.mean()) == pytest.approx(float(whole[key]), rel=0.05)
    counts: list[Tensor] = []
    few.prototype_classifier.bank.accumulate = lambda statistics: counts.append(statistics.counts)
    train_step(few, make_labels(), iteration=2)
    assert counts[0].sum(1).tolist() == [10, 10, 10, 0]
    total(drawn[0]).backward()
    assert all(parameter.grad.isfinite().all() for parameter in few.parameters())


def test_memory_format_changes_nothing() -> None:
    head = build(dropout_ratio=0)
    train_step(head, make_labels())
    classifier = head.prototype_classifier
    features = torch.randn(2, 16, 12, 16, generator=torch.Generator().manual_seed(3))
    labels = make_labels()[:, 1::2, 1::2].flatten()
    labels = labels.masked_fill(labels == 255, -1)
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        maps = features.contiguous(memory_format=memory_format).requires_grad_()
        logits, pixels = classifier.forward_labelled(maps, labels, 0.1)
        assert logits.is_contiguous(memory_format=memory_format)
        value = logits.sin().sum() + pixels.log_partition.sum()
        results.append((logits.detach(), torch.autograd.grad(value, maps)[0]))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("projection", [None, {"out_channels": 6}])
def test_strips_of_a_huge_image_give_the_same_logits(
    projection: dict[str, Any] | None,
    memory_format: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = build(projection=projection)
    train_step(head, make_labels())
    head.eval()
    inputs = [INPUTS[0].contiguous(memory_format=memory_format)]
    with torch.no_grad():
        whole = head(inputs)
        monkeypatch.setattr(classifier_module, "_STRIP_NUMBERS", 2 * 6 * 16 * 5)
        rows: list[int] = []
        hook = head.prototype_classifier.embedding.register_forward_pre_hook(
            lambda _, args: rows.append(args[0].shape[2])
        )
        strips = head(inputs)
    hook.remove()
    assert len(rows) > 1
    assert sum(rows) == 12
    torch.testing.assert_close(strips, whole)
    assert strips.is_contiguous(memory_format=memory_format)
    assert strips.stride() == whole.stride()
