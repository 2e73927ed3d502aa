import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch.multiprocessing.spawn import spawn
from toy_runner import CLASSES, make_runner, runner_config

from mmseg_proto.hooks.prototype_timeline import TIMELINE, Change, PrototypeLife, TimelineFile
from mmseg_proto.hooks.summary_line import summary_line
from mmseg_proto.prototypes import PrototypeBank

#: Everything is seeded at the first iteration.
IMPATIENT = {"model.decode_head.seeding": {"eager_iterations": 0}}


def lines_of(runner: Runner) -> list[dict[str, Any]]:
    text = (Path(runner.log_dir) / TIMELINE).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def bank_with(alive: list[list[int]]) -> PrototypeBank:
    """Two classes of two prototypes, of which some exist along the axes."""
    bank = PrototypeBank(2, 2, 4)
    bank.seed(torch.arange(2), torch.eye(4).view(2, 2, 4), torch.tensor(alive) > 0)
    return bank


def test_tells_births_deaths_turns_and_moves() -> None:
    bank = bank_with([[1, 1], [0, 0]])
    bank.updates[0] = torch.tensor([5.0, 7.0])
    life = PrototypeLife(bank, 10)
    assert life.look(10).born == ()  # what is there at the start is not born
    # One turns by a right angle, one stays, and one of the other class is born and moves twice.
    bank.prototypes[0, 0] = torch.tensor([0.0, 0, 1, 0])
    bank.updates[0, 0] = 8.0
    bank.seed(torch.tensor([1]), torch.eye(4)[None, 2:], torch.tensor([[False, True]]))
    bank.updates[1, 1] = 2.0
    change = life.look(30)
    assert (change.start, change.stop) == (10, 30)
    assert (change.born, change.died) == (((1, 1),), ())
    torch.testing.assert_close(change.turn, torch.tensor([0.5, torch.nan]), equal_nan=True)
    torch.testing.assert_close(change.turn_rate(), torch.tensor([25.0, torch.nan]), equal_nan=True)
    assert change.moves.tolist() == [3, 2]
    assert life.look(30) is change


def test_one_that_died_and_was_seeded_again_between_looks_is_both() -> None:
    bank = bank_with([[1, 1], [1, 0]])
    bank.updates.fill_(9.0)
    bank.usage[:, 0] = 1.0
    life = PrototypeLife(bank, 0)
    died = bank.retire(min_updates=1, max_usage=0.5)
    assert died.tolist() == [[False, True], [False, False]]
    bank.seed(torch.tensor([0]), torch.eye(4)[None, 2:], torch.tensor([[False, True]]))
    change = life.look(50)
    assert change.born == change.died == ((0, 1),)
    # It is another one, so that it has not turned.
    assert change.turn.tolist() == [0.0, 0.0]
    bank.retire(min_updates=0, max_usage=0.5)
    assert life.look(100).died == ((0, 1),)


def test_a_real_run_and_what_is_resumed(tmp_path: Path) -> None:
    first = make_runner(tmp_path, IMPATIENT)
    first.train()
    head, *reports = lines_of(first)
    assert head == {
        "head": "decode_head",
        "iteration": 0,
        "classes": list(CLASSES),
        "alive": [0, 0, 0],
    }
    assert [(line["start"], line["stop"]) for line in reports] == [(0, 2), (2, 4)]
    assert sorted(reports[0]["born"]) == [
        [label, place] for label in range(3) for place in range(3)
    ]
    assert reports[0]["turn"] == [None] * 3
    assert reports[1]["born"] == reports[1]["died"] == []
    assert all(0 < turn < 1 for turn in reports[1]["turn"])
    updates = first.model.decode_head.prototype_classifier.bank.updates.sum(dim=1)
    moves = torch.tensor([line["moves"] for line in reports]).sum(dim=0)
    assert moves.tolist() == updates.tolist()

    halfway = str(Path(first.work_dir) / "iter_2.pth")
    resumed = make_runner(tmp_path, {**IMPATIENT, "resume": True, "load_from": halfway})
    resumed.train()
    head, *reports = lines_of(resumed)
    assert (head["iteration"], head["alive"]) == (2, [3, 3, 3])
    assert [(line["start"], line["stop"]) for line in reports] == [(2, 4)]
    assert reports[0]["born"] == []


def test_the_log_sums_up_before_validation_and_at_the_end(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, {**IMPATIENT, "train_cfg.val_interval": 3})
    runner.train()
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    told = [line.partition("INFO - ")[2] for line in log.splitlines() if " alive, " in line]
    assert len(told) == 3  # two validations, and the end
    assert told[0].startswith("Prototypes of decode_head: 9 of 9 alive, ")
    # Iteration 3 is between two reports.
    assert "9 born and 0 died since iteration 0, drift " in told[0]
    assert "0 born and 0 died since iteration 3, drift " in told[1]
    assert told[2] == told[1]
    assert log.index(told[0]) < log.index("Iter(val)") < log.index(told[1])
    assert "nan" not in "".join(told)
    spans = [(line["start"], line["stop"]) for line in lines_of(runner)[1:]]
    assert spans == [(0, 2), (2, 3), (3, 4)]


def test_two_heads_share_the_file(tmp_path: Path) -> None:
    options = {"type": "ProtoDecodeHead", "decoder": "FCNHead", "num_prototypes": 2}
    runner = make_runner(tmp_path, {"model.auxiliary_head": options, "train_cfg.max_iters": 2})
    runner.train()
    heads = [line["head"] for line in lines_of(runner)]
    assert heads == ["decode_head", "auxiliary_head"] * 2


def test_a_full_disk_is_named_and_training_goes_on(tmp_path: Path) -> None:
    file = TimelineFile(tmp_path / "folder" / TIMELINE)
    change = PrototypeLife(bank_with([[1, 1], [1, 1]]), 0).look(0)
    logger = MMLogger.get_current_instance()
    with mock.patch.object(logger, "warning") as warned:
        file.add("head", change)
        file.add("head", change)
        assert warned.call_count == 1
        assert "cannot be written, and training goes on" in warned.call_args.args[0]
        file.path.parent.mkdir()
        file.path.write_text('{"head": "he')  # as far as it fitted
        file.add("head", change)
        file.add("head", change)
    lines = file.path.read_text().splitlines()
    assert lines[0] == '{"head": "he'
    assert [json.loads(line)["head"] for line in lines[1:]] == ["head", "head"]


def test_the_file_stays_small(tmp_path: Path) -> None:
    file = TimelineFile(tmp_path / TIMELINE)
    turn = torch.rand(150, generator=torch.Generator().manual_seed(0)) * 1e-4
    file.add("decode_head", Change(159950, 160000, (), (), turn, torch.full((150,), 500.0)))
    assert file.path.stat().st_size < 2200


def test_the_line_says_all() -> None:
    health = {
        "live_share": torch.tensor([1.0, 0.5]),
        "perplexity": torch.tensor([3.0, 1.5]),
        "cosine": torch.tensor([0.2, 0.4]),
        "largest_cosine": torch.tensor([0.3, 0.78]),
        "drift": torch.tensor([0.01, 0.03]),
        "scale": torch.tensor(12.0),
    }
    line = summary_line("decode_head", health, ("sky", "tree"), 4, born=1, died=2, since=450)
    assert line == (
        "Prototypes of decode_head: 6 of 8 alive, 2.2 of 4 in use per class, "
        "cosine 0.30 (largest 0.78 in tree), 1 born and 2 died since iteration 450, "
        "drift 0.02 per 1000 iterations"
    )


def test_the_line_leaves_out_what_nobody_knows() -> None:
    nothing = torch.full((2,), torch.nan)
    health = {"live_share": torch.zeros(2), "perplexity": nothing, "cosine": nothing}
    health |= {"largest_cosine": nothing, "drift": nothing}
    line = summary_line("head", health, ("a", "b"), 3, born=0, died=0, since=0)
    assert line == "Prototypes of head: 0 of 6 alive, 0 born and 0 died since iteration 0"
    # A class that has none is not the largest.
    half = torch.tensor([torch.nan, 0.1])
    line = summary_line(
        "head",
        {**health, "cosine": half, "largest_cosine": half},
        ("a", "b"),
        3,
        born=0,
        died=0,
        since=0,
    )
    assert "cosine 0.10 (largest 0.10 in b)" in line


def train_rank(rank: int, folder: str) -> None:
    """Train as one of two ranks, see test_two_process_runner.py for the wrapper."""
    torch.set_num_threads(1)
    config = runner_config(Path(folder, "run"))
    for part in ("backbone", "decode_head", "auxiliary_head"):
        config.model[part].norm_cfg = {"type": "GN", "num_groups": 2}
    config.train_dataloader.batch_size = 1
    config.merge_from_dict(
        {
            "launcher": "pytorch",
            "model_wrapper_cfg": {
                "type": "MMDistributedDataParallel",
                "device_ids": None,
                "broadcast_buffers": False,
            },
        }
    )
    config.experiment_name = f"rank{rank}"
    with mock.patch.dict(os.environ, LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE="2"):
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        Runner.from_cfg(config).train()
        dist.destroy_process_group()


@pytest.mark.ddp
def test_of_two_ranks_one_writes(tmp_path: Path) -> None:
    spawn(train_rank, (str(tmp_path),), nprocs=2)
    (file,) = (tmp_path / "run").glob(f"*/{TIMELINE}")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.get("stop", "start") for line in lines] == ["start", 2, 4]
