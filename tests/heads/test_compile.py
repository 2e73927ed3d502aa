"""The way from features to losses is one graph for `torch.compile`."""

import pytest
import torch
from toy import make_classifier

from mmseg_proto import PixelPrototypeLoss
from mmseg_proto.heads.classifier import PrototypeClassifier

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, "custom_op"), reason="this PyTorch has no custom operators"
)


def seeded_classifier() -> tuple[PrototypeClassifier, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 16, 8, 8, generator=generator)
    labels = torch.randint(-1, 5, (2 * 8 * 8,), generator=generator)
    classifier = make_classifier(5, feature_norm={"type": "LN"})
    classifier.begin_step(0)
    classifier.seed_if_due(features, labels)
    classifier.begin_step(1)
    return classifier, features, labels


def test_training_pass_compiles_to_one_graph_with_the_same_result() -> None:
    classifier, features, labels = seeded_classifier()
    loss = PixelPrototypeLoss()
    classes = classifier.bank.shape[0]

    def losses(maps: torch.Tensor) -> torch.Tensor:
        logits, pixels = classifier.forward_labelled(maps, labels, loss.temperature)
        positive = classifier.assign(pixels, keep=False)
        parts = loss(positive, pixels.log_partition, pixels.labels, classes)
        total: torch.Tensor = parts["loss_ppc"] + parts["loss_ppd"] + logits.square().mean()
        return total

    torch._dynamo.reset()
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    results = []
    for function in (losses, compiled):
        maps = features.clone().requires_grad_()
        value = function(maps)
        results.append((value.detach(), *torch.autograd.grad(value, maps)))
    torch.testing.assert_close(results[1], results[0])


def test_inference_compiles_to_one_graph_with_the_same_result() -> None:
    classifier, features, _ = seeded_classifier()
    torch._dynamo.reset()
    compiled = torch.compile(classifier, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(features), classifier(features))
