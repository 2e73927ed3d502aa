"""A view of a trained segmentor says which prototype of every class is nearest."""

import copy
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from toy_runner import runner_config

from mmseg_proto import ProtoEncoderDecoder
from mmseg_proto.heads.decoders import last_head
from mmseg_proto.segmentors import explaining_view

PLACES = 3


def build(tmp_path: Any, **options: Any) -> Any:
    """Build a segmentor of the host; class 2 has no prototypes, class 1 lacks one."""
    init_default_scope("mmseg")
    cfg = runner_config(tmp_path)
    cfg.merge_from_dict(options)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    bank = last_head(model).prototype_classifier.bank
    alive = torch.ones(bank.shape, dtype=torch.bool)
    alive[1, 2] = False
    alive[2] = False
    bank.seed(torch.arange(3), torch.randn(bank.prototypes.shape), alive)
    return model


def predict(model: Any, image: torch.Tensor, **meta: Any) -> Any:
    size = tuple(image.shape[2:])
    sample = SegDataSample(metainfo={"ori_shape": size, "img_shape": size, **meta})
    with torch.no_grad():
        return model.predict(image, [sample])[0]


def cascade(tmp_path: Any) -> Any:
    cfg = runner_config(tmp_path).model
    coarse = copy.deepcopy(cfg.auxiliary_head)
    coarse.update(in_channels=64, in_index=3)
    last = copy.deepcopy(cfg.decode_head)
    last.update(type="ProtoDecodeHead", decoder="OCRHead", ocr_channels=8)
    options = {
        "model.type": "CascadeEncoderDecoder",
        "model.num_stages": 2,
        "model.decode_head": [coarse, {k: v for k, v in last.items() if k != "num_convs"}],
    }
    return build(tmp_path, **options)


def test_winners_against_the_slow_oracle(tmp_path: Any) -> None:
    """At the size of the features nothing is resized."""
    model = build(tmp_path)
    seen: list[torch.Tensor] = []
    classifier = model.decode_head.prototype_classifier
    classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    sample = predict(explaining_view(model), torch.randn(1, 3, 32, 48), ori_shape=(8, 12))
    bank = classifier.bank
    pixels = classifier.embedding(seen[0]).detach()
    expected = torch.full((3, 8, 12), -1)
    for number, pixel in enumerate(pixels):
        for c in range(3):
            cosines = [
                float(pixel @ bank.directions[c, k]) if bank.alive_mask[c, k] else -2.0
                for k in range(PLACES)
            ]
            if max(cosines) > -2:
                expected[c, number // 12, number % 12] = cosines.index(max(cosines))
    winners = sample.class_winners.data
    assert winners.dtype == torch.int16
    assert torch.equal(winners.long(), expected)
    assert (winners[2] == -1).all()


@pytest.mark.parametrize(
    ("options", "meta"),
    [
        ({}, {}),
        ({}, {"flip": True, "flip_direction": "horizontal"}),
        ({}, {"flip": True, "flip_direction": "vertical", "ori_shape": (50, 31)}),
        ({}, {"padding_size": [1, 8, 4, 2], "ori_shape": (26, 39)}),
        ({"model.test_cfg": {"mode": "slide", "crop_size": (16, 16), "stride": (12, 12)}}, {}),
        (
            {"model.test_cfg": {"mode": "slide", "crop_size": (16, 16), "stride": (16, 16)}},
            {"ori_shape": (41, 70)},
        ),
    ],
)
def test_winners_lie_where_the_prediction_does(
    options: dict[str, Any], meta: dict[str, Any], tmp_path: Any
) -> None:
    """The number of the predicted class is that of `prototype_id`, which has tests of its own."""
    sample = predict(explaining_view(build(tmp_path, **options)), torch.randn(1, 3, 32, 48), **meta)
    labels = sample.pred_sem_seg.data
    winners = sample.class_winners.data
    assert winners.shape == sample.seg_logits.data.shape
    assert torch.equal(winners.gather(0, labels), (sample.prototype_id.data % PLACES).short())
    assert winners.unique().tolist() == [-1, 0, 1, 2]
    assert len(winners[1].unique()) == 2


def test_a_view_shares_everything_and_changes_nothing(tmp_path: Any) -> None:
    model = build(tmp_path)
    image = torch.randn(1, 3, 32, 48)
    before = predict(model, image)
    names = set(vars(model))
    view = explaining_view(model)
    assert isinstance(view, EncoderDecoder)
    assert all(a is b for a, b in zip(view.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(view.buffers(), model.buffers(), strict=True))
    seen = predict(view, image)
    assert torch.equal(seen.seg_logits.data, before.seg_logits.data)
    assert isinstance(seen.class_winners, PixelData)
    after = predict(model, image)
    assert type(model) is EncoderDecoder
    assert set(vars(model)) == names
    assert sorted(after.keys()) == sorted(before.keys()) == ["pred_sem_seg", "seg_logits"]
    # What the model learns later, the view knows.
    with torch.no_grad():
        model.decode_head.prototype_classifier.score_scale.log_scale.add_(1)
    later = predict(view, image)
    torch.testing.assert_close(later.max_cosine.data, seen.max_cosine.data)
    assert not torch.equal(later.seg_logits.data, seen.seg_logits.data)


def test_a_segmentor_with_confidence_keeps_what_it_says(tmp_path: Any) -> None:
    model = build(tmp_path, **{"model.type": "ProtoEncoderDecoder", "model.unknown_below": 0.3})
    image = torch.randn(1, 3, 32, 48)
    view = explaining_view(explaining_view(model))
    assert isinstance(view, ProtoEncoderDecoder)
    assert {"unknown", "margin", "class_winners"} <= set(predict(view, image).keys())
    assert "class_winners" not in predict(model, image)


def test_a_compiled_forward_is_passed_by(tmp_path: Any) -> None:
    model = build(tmp_path)
    model.forward = copy.copy(model.forward)
    with torch.no_grad():
        (sample,) = explaining_view(model)(torch.randn(1, 3, 32, 48), mode="predict")
    assert "class_winners" in sample


def test_a_cascade(tmp_path: Any) -> None:
    sample = predict(explaining_view(cascade(tmp_path)), torch.randn(1, 3, 32, 48))
    labels = sample.pred_sem_seg.data
    number = sample.class_winners.data.gather(0, labels)
    assert torch.equal(number, (sample.prototype_id.data % PLACES).short())


def test_what_cannot_be_explained_is_refused(tmp_path: Any) -> None:
    model = build(tmp_path, **{"model.decode_head.score_scale": {"kind": "layer_norm"}})
    with pytest.raises(ValueError, match="`score_scale.kind` to be 'scalar' in the head of Enc"):
        explaining_view(model)
    cfg = runner_config(tmp_path).model
    del cfg.decode_head["decoder"], cfg.decode_head["num_prototypes"]
    cfg.decode_head.type = "FCNHead"
    softmax = MODELS.build(cfg)
    with pytest.raises(TypeError, match="head of EncoderDecoder to be a ProtoDecodeHead, but got"):
        explaining_view(softmax)
    with pytest.raises(TypeError, match="but got DataParallel, which wraps one: give its `module`"):
        explaining_view(torch.nn.DataParallel(softmax))
    with pytest.raises(
        TypeError, match="Expected `model` to be an EncoderDecoder or .* got Linear"
    ):
        explaining_view(torch.nn.Linear(2, 2))
