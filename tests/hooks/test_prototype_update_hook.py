import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from toy_runner import make_runner

from mmseg_proto.hooks import PrototypeUpdateHook
from mmseg_proto.hooks.checkpoint_files import load_weights

BANK = "decode_head.prototype_classifier.bank"


#: Few pixels fill all places at once, so that nothing is seeded later.
IMPATIENT = {"eager_iterations": 0}


def bank_of(runner: Runner) -> Any:
    return runner.model.decode_head.prototype_classifier.bank


def test_trains_logs_and_saves(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    runner.train()
    bank = bank_of(runner)
    assert bank.alive_mask.all()
    assert bank.updates.max() == 4
    torch.testing.assert_close(bank.prototypes.norm(dim=2), torch.ones(3, 3))
    checkpoint = load_weights(Path(runner.work_dir) / "iter_4.pth")
    assert torch.equal(checkpoint["state_dict"][f"{BANK}.prototypes"], bank.prototypes)
    # In the ordinary log and in the visualisation backend.
    scalars = [
        json.loads(line)
        for line in (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text().splitlines()
    ]
    logged = next(line for line in reversed(scalars) if "loss" in line)
    assert logged["prototype/live_share"] == 1
    assert 1 <= logged["prototype/perplexity"] <= 3
    assert -1 <= logged["prototype/cosine"] <= 1
    assert logged["prototype/cosine"] <= logged["prototype/largest_cosine"] <= 1
    assert 0 <= logged["prototype/drift"] < 2
    assert logged["prototype/scale"] == pytest.approx(10, rel=0.1)
    assert "prototype/perplexity" in next(Path(runner.log_dir).glob("*.log")).read_text()


def test_lists_each_class_before_each_validation(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    runner.train()
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    tables = log.split("| Class | live_share | perplexity | cosine | largest_cosine |")
    assert len(tables) == 2  # one validation
    health = runner.model.decode_head.prototype_classifier.health()
    row = next(line for line in tables[-1].splitlines() if "road" in line)
    numbers = [float(cell) for cell in row.strip("| ").split("|")[1:]]
    expected = [health[key][1] for key in ("live_share", "perplexity", "cosine", "largest_cosine")]
    assert numbers == pytest.approx([float(number) for number in expected], abs=1e-3)
    lines = (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text().splitlines()
    logged = [json.loads(line) for line in lines if "prototype_classes/cosine/road" in line]
    assert [line["step"] for line in logged] == [4]
    assert logged[-1]["prototype_classes/cosine/road"] == pytest.approx(numbers[2], abs=1e-3)


def test_optimiser_holds_the_scale_but_no_prototype(tmp_path: Path) -> None:
    runner = make_runner(tmp_path)
    runner.train()
    held = {id(p) for group in runner.optim_wrapper.param_groups for p in group["params"]}
    assert id(runner.model.decode_head.prototype_classifier.score_scale.log_scale) in held
    assert id(bank_of(runner).prototypes) not in held
    assert not bank_of(runner).prototypes.requires_grad


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    no_dropout = {f"model.{head}.dropout_ratio": 0 for head in ("decode_head", "auxiliary_head")}
    first = make_runner(tmp_path, no_dropout)
    first.train()
    halfway = str(Path(first.work_dir) / "iter_2.pth")
    resumed = make_runner(tmp_path, {"resume": True, "load_from": halfway, **no_dropout})
    resumed.train()
    expected = first.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_one_update_per_optimiser_step_under_accumulation(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {"optim_wrapper.accumulative_counts": 2})
    runner.train()
    assert bank_of(runner).updates.max() == 2


@pytest.mark.parametrize("update_buffers", [False, True])
def test_survives_ema_hook(tmp_path: Path, update_buffers: bool) -> None:
    hook = {"type": "EMAHook", "momentum": 0.5, "update_buffers": update_buffers}
    runner = make_runner(tmp_path, {"custom_hooks": [hook]})
    runner.train()
    source = bank_of(runner).prototypes
    checkpoint = load_weights(Path(runner.work_dir) / "iter_4.pth")
    averaged = checkpoint["state_dict"][f"{BANK}.prototypes"]
    assert torch.equal(checkpoint["ema_state_dict"][f"module.{BANK}.prototypes"], source)
    assert checkpoint["state_dict"][f"{BANK}.alive"].min() > 0
    cosine = torch.nn.functional.cosine_similarity(averaged, source, dim=2)
    assert cosine.min() > 0.999
    assert torch.equal(averaged, source) is not update_buffers
    # The averaged model is what `mim test` loads.
    tested = make_runner(tmp_path, {"load_from": str(Path(runner.work_dir) / "iter_4.pth")})
    assert tested.test()["mIoU"] >= 0


def test_step_skipped_by_the_scaler_moves_nothing(tmp_path: Path) -> None:
    runner = make_runner(
        tmp_path,
        {
            "train_cfg.max_iters": 1,
            "train_cfg.val_interval": 10,
            "model.decode_head.seeding": IMPATIENT,
        },
    )

    class Scaler:
        """Lowers its scale at each step, as GradScaler does on infinite gradients."""

        scale = 8.0

        def is_enabled(self) -> bool:
            return True

        def get_scale(self) -> float:
            self.scale /= 2
            return self.scale

    runner.train()
    hook = next(h for h in runner.hooks if isinstance(h, PrototypeUpdateHook))
    bank = bank_of(runner)
    before, updates = bank.prototypes.clone(), bank.updates.clone()
    runner.optim_wrapper.loss_scaler = Scaler()
    batch = next(iter(runner.train_dataloader))
    hook.before_train_iter(runner, 0, batch)
    runner.model.train()
    runner.model(**runner.model.data_preprocessor(batch, True), mode="loss")
    hook.after_train_iter(runner, 0, batch, {})
    assert torch.equal(bank.prototypes, before)
    assert torch.equal(bank.updates, updates)
    assert bank._pending is None


def test_wrong_label_is_named_before_the_model_sees_it(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {"train_dataloader.dataset.wrong": 7})
    with pytest.raises(
        ValueError,
        match=r"labels in \[0, 2\] for the 3 classes .* got 7 in 2 .* first labels/0.png",
    ):
        runner.train()


def test_wrong_class_count_is_named(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset": {"classes": ("a", "b")}}
    message = (
        r"`num_classes` of decode_head to be 2, the number of classes of StripesDataset, but got 3"
    )
    with pytest.raises(ValueError, match=message):
        make_runner(tmp_path, {"train_dataloader": options}).train()
    with pytest.raises(ValueError, match=message):
        make_runner(tmp_path, {"test_dataloader": options}).test()
    with pytest.raises(ValueError, match=message):
        make_runner(tmp_path, {"val_dataloader": options}).val()


def test_missing_hook_is_refused_at_the_first_iteration(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Add this line to the config: default_hooks"):
        make_runner(tmp_path, hook=False).train()


def test_hook_without_head_is_refused(tmp_path: Path) -> None:
    head = {"_delete_": True, "type": "FCNHead", "in_channels": 64, "channels": 8, "num_classes": 3}
    with pytest.raises(ValueError, match="found none for PrototypeUpdateHook"):
        make_runner(tmp_path, {"model.decode_head": head}).train()


def test_swapped_auxiliary_head_updates_and_reports_too(tmp_path: Path) -> None:
    runner = make_runner(
        tmp_path,
        {
            "model.auxiliary_head.type": "ProtoDecodeHead",
            "model.auxiliary_head.decoder": "FCNHead",
            "model.auxiliary_head.seeding": IMPATIENT,
        },
    )
    runner.train()
    auxiliary = runner.model.auxiliary_head.prototype_classifier.bank
    assert auxiliary.updates.max() == 4
    assert runner.message_hub.get_scalar("train/prototype/auxiliary_head/live_share").current() == 1


def test_softmax_checkpoint_loads_all_but_the_classifier(tmp_path: Path) -> None:
    softmax = make_runner(
        tmp_path,
        {
            "model.decode_head": {
                "_delete_": True,
                "type": "FCNHead",
                "in_channels": 64,
                "channels": 8,
                "num_convs": 1,
                "num_classes": 3,
                "norm_cfg": {"type": "BN"},
            },
        },
        hook=False,
    )
    softmax.train()
    trained = softmax.model.state_dict()
    swapped = make_runner(tmp_path, {"load_from": str(Path(softmax.work_dir) / "iter_4.pth")})
    swapped.load_or_resume()
    state = swapped.model.state_dict()
    classifier = {"decode_head.conv_seg.weight", "decode_head.conv_seg.bias"}
    assert set(trained) - set(state) == classifier
    for name in set(trained) - classifier:
        assert torch.equal(state[name], trained[name]), name


def test_errors() -> None:
    with pytest.raises(ValueError, match="`interval` to be at least 1, but got 0"):
        PrototypeUpdateHook(interval=0)


def test_a_collapsed_class_is_named_once(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {"train_cfg.max_iters": 8})

    class Collapse(Hook):
        priority = "HIGH"

        def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
            bank_of(runner).prototypes[1] = bank_of(runner).prototypes[1, :1]

    runner.register_hook(Collapse())
    runner.train()
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    (line,) = [line for line in log.splitlines() if "have collapsed" in line]
    assert "decode_head have collapsed for road:" in line


def test_ranks_can_be_compared_after_each_update(tmp_path: Path) -> None:
    """A single process agrees with itself; several are in tests/heads/test_ddp.py."""
    options = {"default_hooks.prototype.check_ranks": True}
    runner = make_runner(tmp_path, options)
    runner.train()
    assert runner.iter == 4


def test_an_interval_that_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match=r"`interval` to be a whole number, but got '50' \(str\)"):
        PrototypeUpdateHook(interval="50")  # type: ignore[arg-type]
