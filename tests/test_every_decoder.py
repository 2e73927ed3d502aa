"""Every decode head that the host registers: swapped and trained one step, or refused."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from decoder_cases import CLASSES, OWN, REFUSED, SWAPPED, head_config, table
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor
from toy import make_samples

from mmseg_proto.heads.decoders import resolve_decoder


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope("mmseg")


#: Whether mmcv was built with its compiled ops.
COMPILED = find_spec("mmcv._ext") is not None


def samples_with_edges() -> Any:
    labels = torch.randint(0, CLASSES, (2, 48, 48))
    labels[:, :2] = 255
    samples = make_samples(labels)
    for sample in samples:
        sample.gt_edge_map = PixelData(data=torch.randint(0, 2, (1, 48, 48)).float())
    return samples


def beside(name: str) -> list[Tensor]:
    """What a decoder takes between features and samples: OCR the scores of the stage before."""
    return [torch.randn(2, CLASSES, 12, 12)] if name == "OCRHead" else []


def build(name: str) -> Any:
    """Build a swapped head, or check that it says what is missing."""
    needs = SWAPPED[name].needs
    if needs and not COMPILED:
        with pytest.raises(RuntimeError, match=f"Please install .*mmcv.* {needs} ops"):
            MODELS.build(head_config(name))
        pytest.skip(f"mmcv has no {needs} here, and the host says so")
    return MODELS.build(head_config(name))


@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "amp"])
@pytest.mark.parametrize("name", SWAPPED)
def test_swapped_decoder_trains_and_predicts(name: str, amp: bool) -> None:
    torch.manual_seed(0)
    head = build(name)
    head.init_weights()
    head.attach_hook()
    case = SWAPPED[name]
    classifier = head.prototype_classifier
    for step in range(2):
        classifier.begin_step(step)
        features = (case.training_features or case.features)()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
            losses = head.loss(features, *beside(name), samples_with_edges(), {})
        still = classifier.bank.prototypes.clone()
        parts = [value for key, value in losses.items() if "loss" in key]
        torch.stack([part.sum() for part in parts]).sum().backward()
        classifier.end_step(update=True)
    assert {"loss_ppc", "loss_ppd"} <= set(losses)
    assert all(part.isfinite().all() for part in parts)
    # An unused parameter is an error under DistributedDataParallel.
    unused = [key for key, value in head.named_parameters() if value.grad is None]
    assert not [key for key in unused if head.get_parameter(key).requires_grad]
    assert not torch.equal(still, classifier.bank.prototypes)
    head.eval()
    meta = [{"img_shape": (48, 48)}]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
        logits = head.predict(case.features(), *beside(name), meta, {})
    assert logits.shape == (2, CLASSES, 48, 48)
    assert logits.std() > 0


def test_patches_are_classified_without_prototypes_too() -> None:
    """The softmax twin of Segmenter's swap: a linear classifier in the place of the queries."""
    config = {**head_config("SegmenterPatchHead"), "type": "SegmenterPatchHead"}
    head = MODELS.build({k: v for k, v in config.items() if k not in ("decoder", "num_prototypes")})
    head.init_weights()
    losses = head.loss(SWAPPED["SegmenterPatchHead"].features(), samples_with_edges(), {})
    losses["loss_ce"].backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert head.conv_seg.in_channels == 8  # embed_dims, whatever `channels` says


@pytest.mark.parametrize("name", REFUSED)
def test_refused_decoder_says_why(name: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]):
        resolve_decoder(name)


def test_every_head_of_the_host_has_a_verdict() -> None:
    heads = {
        name
        for name, cls in MODELS.module_dict.items()
        if isinstance(cls, type)
        and cls.__module__.startswith("mmseg.")
        and (issubclass(cls, BaseDecodeHead) or "decode_heads" in cls.__module__)
        and name.endswith("Head")
    }
    assert heads | OWN.keys() == {*SWAPPED, *REFUSED}


def test_the_docs_print_this_table(repository: Path) -> None:
    text = (repository / "docs" / "decoders.md").read_text(encoding="utf-8")
    assert table() in text, f"docs/decoders.md should hold this table:\n{table()}"
