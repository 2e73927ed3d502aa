"""What predictions say beside the class."""

import copy
import pickle
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from reference import class_scores
from toy_runner import runner_config

from mmseg_proto.segmentors.window import places_before_resizing


def build(tmp_path: Any, **options: Any) -> Any:
    init_default_scope("mmseg")
    cfg = runner_config(tmp_path)
    cfg.merge_from_dict({"model.type": "ProtoEncoderDecoder", **options})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    bank = model.decode_head.prototype_classifier.bank
    alive = torch.ones(bank.shape, dtype=torch.bool)
    alive[1, 2] = False
    bank.seed(torch.arange(3), torch.randn(bank.prototypes.shape), alive)
    return model


def predict(model: Any, images: torch.Tensor, **meta: Any) -> Any:
    height, width = images.shape[2:]
    known = {"ori_shape": (height, width), "img_shape": (height, width)}
    samples = [SegDataSample(metainfo={**known, **meta}) for _ in images]
    with torch.no_grad():
        return model.predict(images, samples)


def test_fields_against_the_slow_oracle(tmp_path: Any) -> None:
    """At stride 1 of features and prediction nothing is resized."""
    model = build(tmp_path, **{"model.backbone.stem_channels": 8})
    images = torch.randn(2, 3, 32, 48)
    seen: list[torch.Tensor] = []
    classifier = model.decode_head.prototype_classifier
    classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    samples = predict(model, images)
    features = seen[0]
    # The backbone of the toy has a stride of 4 in its stem.
    assert features.shape[-2:] == (8, 12)
    small = predict(model, images, ori_shape=(8, 12))
    bank = classifier.bank
    for number, sample in enumerate(small):
        pixels = classifier.embedding(features[number : number + 1]).detach()
        cosines = torch.einsum("nd,ckd->nck", pixels, bank.directions)
        cosines = cosines.masked_fill(~bank.alive_mask, -torch.inf)
        labels = sample.pred_sem_seg.data[0]
        ids = sample.prototype_id.data[0]
        assert torch.equal(ids // 3, labels.int())
        winners = cosines.argmax(dim=2).reshape(8, 12, 3)
        expected = winners.gather(2, labels[..., None])[..., 0]
        assert torch.equal(ids % 3, expected.int())
        assert not (ids == 1 * 3 + 2).any()
    # Without resizing in between, cosines are those of the definition.
    scores = class_scores(classifier.embedding(features).detach(), bank.directions, bank.alive_mask)
    top = scores.topk(2, dim=1).values
    full = torch.stack([sample.max_cosine.data[0] for sample in samples])
    assert full.shape == (2, 32, 48)
    assert full.max() <= top[:, 0].max() + 1e-5
    logits = samples[0].seg_logits.data / classifier.score_scale.value()
    ordered = logits.sort(dim=0, descending=True).values
    torch.testing.assert_close(samples[0].max_cosine.data[0], ordered[0])
    torch.testing.assert_close(samples[0].margin.data[0], ordered[0] - ordered[1])


def test_a_threshold_calls_pixels_unknown(tmp_path: Any) -> None:
    model = build(tmp_path, **{"model.unknown_below": 0.3})
    (sample,) = predict(model, torch.randn(1, 3, 32, 48))
    assert torch.equal(sample.unknown.data, sample.max_cosine.data < 0.3)
    assert sample.unknown.data.any()
    assert not sample.unknown.data.all()


def test_windows_know_where_they_are(tmp_path: Any) -> None:
    """Windows that do not overlap and a whole pass per window agree, wherever the window is."""
    slide = {"mode": "slide", "crop_size": (16, 16), "stride": (16, 16)}
    model = build(tmp_path, **{"model.test_cfg": slide})
    image = torch.randn(1, 3, 32, 48)
    (sample,) = predict(model, image)
    for top in (0, 16):
        for left in (0, 16, 32):
            rows, columns = slice(top, top + 16), slice(left, left + 16)
            (part,) = predict(model, image[:, :, rows, columns])
            for name in ("prototype_id", "max_cosine"):
                torch.testing.assert_close(
                    sample.get(name).data[:, rows, columns], part.get(name).data
                )
    # The last window is pushed back into the image, and every pixel has a winner.
    (odd,) = predict(model, torch.randn(1, 3, 25, 41))
    assert odd.prototype_id.data.min() >= 0
    assert odd.prototype_id.shape == (25, 41)


def test_padding_and_flips_are_undone(tmp_path: Any) -> None:
    model = build(tmp_path)
    image = torch.randn(1, 3, 32, 32)
    (plain,) = predict(model, image)
    (flipped,) = predict(model, image, flip=True, flip_direction="horizontal")
    assert torch.equal(flipped.prototype_id.data, plain.prototype_id.data.flip(2))
    (cut,) = predict(model, image, padding_size=[0, 8, 4, 0], ori_shape=(28, 24))
    assert torch.equal(cut.prototype_id.data, plain.prototype_id.data[:, 4:, :24])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("direction", [None, "horizontal", "vertical"])
def test_places_are_those_of_nearest_resizing(align_corners: bool, direction: str | None) -> None:
    """An image whose values are its own places goes through the host's steps."""
    rows = torch.arange(13.0)[:, None].expand(13, 17)
    columns = torch.arange(17.0).expand(13, 17)
    maps = torch.stack([rows, columns])[:, 2:12, 3:16]
    if direction:
        maps = maps.flip(2 if direction == "horizontal" else 1)
    resized = torch.nn.functional.interpolate(
        maps[None], (31, 23), mode="bilinear", align_corners=align_corners
    )[0]
    meta = {"padding_size": [3, 1, 2, 1], "flip": direction is not None}
    meta["flip_direction"] = direction
    found = places_before_resizing(meta, (13, 17), (31, 23), align_corners)
    assert (resized[0, :, 0] - found[0]).abs().max() <= 0.5 + 1e-4
    assert (resized[1, 0] - found[1]).abs().max() <= 0.5 + 1e-4


def test_predictions_without_samples_have_the_fields(tmp_path: Any) -> None:
    model = build(tmp_path)
    model = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    with torch.no_grad():
        (sample,) = model.predict(torch.randn(1, 3, 32, 32))
    assert isinstance(sample.prototype_id, PixelData)
    assert sample.prototype_id.shape == (32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model.decode_head.score_scale": {"kind": "layer_norm"}},
            "`score_scale.kind` to be 'scalar'",
        ),
        ({"model.unknown_below": "0.5"}, "Expected `unknown_below` to be a number, but got '0.5'"),
    ],
)
def test_what_cannot_be_told_is_refused(
    options: dict[str, Any], message: str, tmp_path: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build(tmp_path, **options)


def test_a_softmax_head_is_refused(tmp_path: Any) -> None:
    init_default_scope("mmseg")
    cfg = runner_config(tmp_path)
    cfg.model.type = "ProtoEncoderDecoder"
    del cfg.model.decode_head["decoder"], cfg.model.decode_head["num_prototypes"]
    cfg.model.decode_head.type = "FCNHead"
    with pytest.raises(TypeError, match="to be a ProtoDecodeHead, but got FCNHead"):
        MODELS.build(cfg.model)
