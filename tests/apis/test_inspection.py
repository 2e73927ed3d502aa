import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmseg_proto.apis.inspection import read_prototypes, report
from mmseg_proto.prototypes import PrototypeBank

CLASSES = ("sky", "road", "car")


def save_ours(file: Path) -> PrototypeBank:
    """Save a bank in which sky has two right angles, road is one point and car does not exist."""
    bank = PrototypeBank(3, 3, 4)
    prototypes = torch.stack([torch.eye(4)[:3], torch.ones(3, 4), torch.eye(4)[:3]])
    alive = torch.tensor([[True] * 3, [True] * 3, [False] * 3])
    bank.seed(torch.arange(3), prototypes, alive)
    bank.usage.copy_(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0] * 3]))
    bank.updates[:2] = 7
    name = "decode_head.prototype_classifier.bank"
    state = {f"{name}.{key}": value for key, value in bank.state_dict().items()}
    meta = {"dataset_meta": {"classes": CLASSES}}
    torch.save({"meta": meta, "state_dict": {**state, "backbone.weight": torch.ones(1)}}, file)
    return bank


def test_reports_each_class_of_our_checkpoint(tmp_path: Path) -> None:
    save_ours(tmp_path / "ours.pth")
    (saved,) = read_prototypes(tmp_path / "ours.pth")
    sky, road, car = report(saved)["classes"]
    assert sky["name"] == "sky"
    assert (sky["live_share"], sky["cosine"], sky["largest_cosine"]) == (1.0, 0.0, 0.0)
    assert sky["perplexity"] == pytest.approx(3.0)
    assert sky["updates"] == 7.0
    assert road["cosine"] == pytest.approx(1.0)
    assert road["perplexity"] == pytest.approx(1.0)
    assert (car["live_share"], car["cosine"], car["perplexity"]) == (0.0, None, None)
    assert report(saved)["mean"]["cosine"] == pytest.approx(0.5)


def test_reads_the_authors_checkpoints(tmp_path: Path) -> None:
    prototypes = torch.randn(19, 10, 8, generator=torch.Generator().manual_seed(0))
    torch.save({"state_dict": {"module.prototypes": prototypes}}, tmp_path / "authors.pth")
    (saved,) = read_prototypes(tmp_path / "authors.pth")
    assert saved.alive.all()
    data = report(saved)
    assert data["key"] == "module.prototypes"
    assert len(data["classes"]) == 19
    # It says nothing about use and moves.
    assert set(data["mean"]) == {"live_share", "cosine", "largest_cosine"}


def test_a_softmax_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv_seg.weight": torch.ones(2, 3, 1, 1)}}, tmp_path / "soft.pth")
    with pytest.raises(ValueError, match="found none among the 1 entries .* Softmax models"):
        read_prototypes(tmp_path / "soft.pth")


def test_tool_prints_json_and_draws(tmp_path: Path, repository: Path) -> None:
    save_ours(tmp_path / "ours.pth")
    picture = tmp_path / "heat.png"
    tool = [sys.executable, str(repository / "tools/inspect_prototypes.py")]
    done = subprocess.run(
        [*tool, str(tmp_path / "ours.pth"), "--json", "--heat-map", str(picture)],
        capture_output=True,
        text=True,
        check=True,
    )
    (data,) = json.loads(done.stdout)
    assert [entry["name"] for entry in data["classes"]] == list(CLASSES)
    colours = set(Image.open(picture).convert("RGB").getdata())
    assert len(colours) > 50
    failed = subprocess.run(
        [*tool, str(tmp_path / "none.pth")], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "none.pth" in failed.stderr
    assert "Traceback" not in failed.stderr
