"""Where MMSegmentation puts decode heads, and what it trains them with, around prototypes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from toy_runner import make_runner, runner_config

from mmseg_proto import ProtoDecodeHead

CROSS_ENTROPY = {"type": "CrossEntropyLoss", "loss_name": "loss_ce"}


def trained(folder: Path, options: dict[str, Any]) -> Any:
    """Train four iterations and return the model."""
    runner = make_runner(folder, options)
    runner.train()
    return runner.model


def moved(head: Any) -> bool:
    """Whether the prototypes of every class exist and have moved since they were seeded."""
    bank = head.prototype_classifier.bank
    return bool(bank.alive_mask.any(dim=1).all()) and bool((bank.usage > 0).any(dim=1).all())


def test_auxiliary_head_can_be_swapped_too(tmp_path: Path) -> None:
    auxiliary = {"type": "ProtoDecodeHead", "decoder": "FCNHead", "num_prototypes": 2}
    model = trained(tmp_path, {"model.auxiliary_head": auxiliary})
    assert isinstance(model.auxiliary_head, ProtoDecodeHead)
    assert moved(model.decode_head)
    assert moved(model.auxiliary_head)


@pytest.mark.parametrize("swapped", [(1,), (0, 1)])
def test_cascade_of_fcn_and_ocr(tmp_path: Path, swapped: tuple[int, ...]) -> None:
    base = runner_config(tmp_path).model.decode_head.to_dict()
    stages = [
        {**base, "decoder": "FCNHead"},
        {key: value for key, value in base.items() if key != "num_convs"}
        | {"decoder": "OCRHead", "ocr_channels": 4},
    ]
    for place in {0, 1} - set(swapped):
        stages[place]["type"] = stages[place].pop("decoder")
        del stages[place]["num_prototypes"]
    config = runner_config(tmp_path)
    config.model.update(type="CascadeEncoderDecoder", num_stages=2, decode_head=stages)
    config.model.pop("auxiliary_head")
    model = trained(tmp_path, {"model": config.model})
    for place in swapped:
        assert moved(model.decode_head[place])


@pytest.mark.parametrize(
    "losses",
    [
        [CROSS_ENTROPY, {"type": "DiceLoss", "use_sigmoid": False, "loss_name": "loss_dice"}],
        [CROSS_ENTROPY, {"type": "LovaszLoss", "per_image": True, "loss_name": "loss_lovasz"}],
        {"type": "CrossEntropyLoss", "use_sigmoid": True},
    ],
    ids=["dice", "lovasz", "sigmoid"],
)
def test_losses_of_the_host(tmp_path: Path, losses: Any) -> None:
    assert moved(trained(tmp_path, {"model.decode_head.loss_decode": losses}).decode_head)


def test_hard_example_sampler(tmp_path: Path) -> None:
    sampler = {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 20}
    assert moved(trained(tmp_path, {"model.decode_head.sampler": sampler}).decode_head)


def test_amp_optimizer_wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``--amp`` puts into the config; without a GPU, autocast on the CPU."""
    amp = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "loss_scale": "dynamic"}
    if not torch.cuda.is_available():
        # The wrapper asks for an accelerator, though autocast does without one.
        monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    seen = []
    original = ProtoDecodeHead.cls_seg

    def spy(head: ProtoDecodeHead, features: torch.Tensor) -> torch.Tensor:
        logits = original(head, features)
        seen.append(features.dtype)
        return logits

    monkeypatch.setattr(ProtoDecodeHead, "cls_seg", spy)
    model = trained(tmp_path, {f"optim_wrapper.{key}": value for key, value in amp.items()})
    assert torch.bfloat16 in seen
    assert moved(model.decode_head)
    assert model.decode_head.prototype_classifier.bank.prototypes.dtype == torch.float32


class _Moves(Hook):
    """Spoils a gradient of the third iteration, and remembers what moves in which."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.weights: list[bool] = []
        self.prototypes: list[bool] = []
        self._before: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        self._weight = runner.model.decode_head.convs[0].conv.weight
        self._bank = runner.model.decode_head.prototype_classifier.bank
        self._weight.register_hook(
            lambda gradient: gradient * (torch.inf if runner.iter == 2 else 1)
        )

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._before = [self._weight.detach().clone(), self._bank.usage.clone()]

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        weight, usage = self._before
        self.weights.append(not torch.equal(weight, self._weight))
        self.prototypes.append(not torch.equal(usage, self._bank.usage))


@pytest.mark.parametrize(
    ("scale", "fused"),
    [(512.0, False), ("dynamic", False), ("dynamic", True)],
    ids=["static", "dynamic", "fused"],
)
def test_prototypes_move_when_weights_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: Any, fused: bool
) -> None:
    """PyTorch's own scaler, which skips the third step: an infinite gradient."""
    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    runner = make_runner(tmp_path, {"train_cfg.max_iters": 5})
    optimizer = torch.optim.SGD(runner.model.parameters(), lr=0.01, fused=fused)
    wrapper = amp_optimizer_wrapper.AmpOptimWrapper(scale, "bfloat16", optimizer=optimizer)
    wrapper.loss_scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    runner.optim_wrapper = wrapper
    moves = _Moves()
    runner.register_hook(moves)
    runner.train()
    assert moves.weights == moves.prototypes == [True, True, False, True, True]


def test_a_frozen_backbone_and_a_frozen_decoder(tmp_path: Path) -> None:
    """Nothing but the scale learns, and prototypes move all the same."""
    frozen = {
        "model.backbone.frozen_stages": 4,
        "model.backbone.norm_eval": True,
        "model.auxiliary_head": None,
    }
    runner = make_runner(tmp_path, frozen)
    scale = "prototype_classifier.score_scale.log_scale"
    for name, parameter in runner.model.decode_head.named_parameters():
        parameter.requires_grad = name == scale
    started = {}

    class Remember(Hook):
        def before_train(self, runner: Runner) -> None:
            started.update({k: v.detach().clone() for k, v in runner.model.named_parameters()})

    runner.register_hook(Remember())
    runner.train()
    changed = [k for k, v in runner.model.named_parameters() if not torch.equal(v, started[k])]
    assert changed == [f"decode_head.{scale}"]
    assert moved(runner.model.decode_head)
