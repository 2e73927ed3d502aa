"""A trained model becomes a file, which computes what the model does."""

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import readme
import torch
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from PIL import Image
from torch import Tensor, nn
from toy_runner import make_runner, runner_config

from mmseg_proto.apis import export_formats, load, model_export
from mmseg_proto.apis.export_formats import check_format
from mmseg_proto.apis.export_model import (
    ShippedModel,
    has_shifted_windows,
    swaps_channels,
    unchecked_resizing,
    whole_logits,
)
from mmseg_proto.apis.export_parity import compare, random_images
from mmseg_proto.apis.export_report import report_rows
from mmseg_proto.apis.export_settings import ExportSettings, check_target, format_of
from mmseg_proto.apis.export_sizes import check_dynamic
from mmseg_proto.apis.model_export import export_model

SMALL: dict[str, Any] = {"size": (16, 24), "rounds": 1}


@MODELS.register_module()
class ThreeConvolutions(nn.Module):
    """A backbone that is exported in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(first, last, 3, 2, 1), nn.BatchNorm2d(last), nn.ReLU())
            for first, last in ((3, 16), (16, 32), (32, 64))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = [images]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return tuple(maps)


def checkpoint_of(
    folder: Path, options: dict[str, Any] | None = None, *, of_host: bool = False
) -> Path:
    """A checkpoint of the toy model, whose prototypes are random and some of them dead."""
    folder.mkdir(exist_ok=True)
    options = dict(options or {})
    if not of_host:
        options["model.backbone"] = {"_delete_": True, "type": "ThreeConvolutions"}
    runner = make_runner(folder, options)
    torch.manual_seed(1)
    for module in runner.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.fill_(0.1)  # type: ignore[union-attr]
    head = runner.model.decode_head
    if hasattr(head, "prototype_classifier"):
        bank = head.prototype_classifier.bank
        alive = torch.ones(bank.shape, dtype=torch.bool)
        alive[1, 2] = False
        bank.seed(torch.arange(3), torch.randn(bank.prototypes.shape), alive)
    path = folder / "model.pth"
    meta = {"cfg": runner.cfg.pretty_text, "dataset_meta": {"classes": ("sky", "road", "car")}}
    torch.save({"meta": meta, "state_dict": runner.model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("prototypes"))


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    head = dict(runner_config(Path()).model.decode_head, type="FCNHead", _delete_=True)
    for key in ("decoder", "num_prototypes"):
        head.pop(key)
    return checkpoint_of(tmp_path_factory.mktemp("softmax"), {"model": {"decode_head": head}})


def run_onnx(path: Path, images: Tensor) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


@pytest.mark.parametrize(
    "options", [{}, {"fused": True}, {"fused": True, "normalize": True, "batch": 2}]
)
def test_onnx_computes_what_the_model_does(
    checkpoint: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    out = tmp_path / "model.onnx"
    settings = ExportSettings(**SMALL, **options)
    report = export_model(checkpoint, out, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    images = random_images((settings.batch, 16, 24), raw=settings.normalize, seed=9)
    model = load(checkpoint)
    # By hand, and not as the command compares.
    normal = (images.flip(1) if swaps_channels(model.data_preprocessor) else images) - 60
    with torch.no_grad():
        expected = whole_logits(model, normal / 60 if settings.normalize else images)
    np.testing.assert_allclose(run_onnx(out, images), expected, atol=1e-4)
    graph = onnx.load(out)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert report["bytes"] == out.stat().st_size
    assert report["parity"]["largest_difference"] <= 1e-4
    assert report["parity"]["largest_logit"] == pytest.approx(float(expected.abs().max()), rel=0.5)
    assert report["latency"]["pytorch_ms"] > 0


def test_labels_from_raw_images_of_another_channel_order(tmp_path: Path) -> None:
    swapped = {"model.data_preprocessor.bgr_to_rgb": True}
    path = checkpoint_of(tmp_path / "run", swapped)
    settings = ExportSettings(**SMALL, normalize=True, argmax=True)
    report = export_model(path, tmp_path / "labels.onnx", settings)
    images = random_images((1, 16, 24), raw=True, seed=3)
    labels = run_onnx(tmp_path / "labels.onnx", images)
    model = load(path)
    with torch.no_grad():
        expected = whole_logits(model, (images[:, [2, 1, 0]] - 60) / 60).argmax(dim=1)
    assert labels.dtype == np.int64
    assert np.array_equal(labels, expected)
    assert len(np.unique(labels)) > 1
    assert report["parity"]["largest_difference"] is None
    assert ["output labels", "(1, 16, 24)"] in report_rows(report)


def test_dynamic_sizes(tmp_path: Path) -> None:
    """Of a head that aligns corners, whose resizing looks at numbers unless it is told not to."""
    path = checkpoint_of(tmp_path / "run", {"model.decode_head.align_corners": True})
    out = tmp_path / "model.onnx"
    settings = ExportSettings(**SMALL, dynamic=True, multiple=8, fused=True)
    report = export_model(path, out, settings)
    model = load(path)
    assert model.decode_head.align_corners
    for shape in ((1, 3, 16, 24), (3, 3, 40, 8), (2, 3, 8, 56)):
        images = torch.randn(shape)
        with torch.no_grad():
            np.testing.assert_allclose(
                run_onnx(out, images), whole_logits(model, images), atol=1e-4
            )
    # Taken for a multiple of 8, it would be computed wrongly and without a word.
    with pytest.raises(Exception, match="[Rr]eshape"):
        run_onnx(out, torch.randn(1, 3, 20, 24))
    assert len(report["parity"]["sizes"]) >= 3
    assert ["input images", "(B, 3, 8*h, 8*w)"] in report_rows(report)


@pytest.mark.parametrize(
    "name", [pytest.param("model.pt2", marks=pytest.mark.slow), "model.ts", "model.pt"]
)
def test_files_for_pytorch(checkpoint: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    report = export_model(checkpoint, out, ExportSettings(**SMALL, fused=True))
    assert report["format"] == format_of(out)
    # As somebody without this package opens it.
    opening = "torch.export.load(path).module()" if name == "model.pt2" else "torch.jit.load(path)"
    images = torch.randn(1, 3, 16, 24)
    torch.save(images, tmp_path / "images")
    code = (
        f"import sys, torch; path, images, out = sys.argv[1:]; model = {opening}\n"
        "torch.save(model(torch.load(images)).detach(), out)\n"
        "assert not {'mmseg', 'mmcv', 'mmengine', 'mmseg_proto'} & set(sys.modules)"
    )
    files = [str(tmp_path / file) for file in (name, "images", "logits")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *files], check=True, cwd=tmp_path)
    with torch.no_grad():
        expected = whole_logits(load(checkpoint), images)
    torch.testing.assert_close(torch.load(tmp_path / "logits"), expected, atol=1e-4, rtol=0)


def test_softmax_models_too(softmax: Path, tmp_path: Path) -> None:
    report = export_model(softmax, tmp_path / "model.onnx", ExportSettings(**SMALL))
    assert report["parity"]["agreement"] == 100
    with pytest.raises(ValueError, match="FCNHead classifies by a convolution .* Leave --fused"):
        export_model(softmax, tmp_path / "fused.onnx", ExportSettings(**SMALL, fused=True))
    assert not (tmp_path / "fused.onnx").exists()


def test_the_size_of_the_config(checkpoint: Path, tmp_path: Path) -> None:
    report = export_model(checkpoint, tmp_path / "model.ts", ExportSettings(rounds=1))
    assert report["settings"]["size"] == [16, 24]
    assert report["notes"] == ["Size 16x24: data_preprocessor.size of the config."]
    bare = checkpoint_of(tmp_path / "run", {"model.data_preprocessor.size": None})
    with pytest.raises(ValueError, match="no crop size and no --size .*--size 512 1024"):
        export_model(bare, tmp_path / "bare.ts")


def test_a_file_that_differs_is_not_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model.onnx"
    out.write_text("older")
    write = export_formats.write

    def write_another(model: Any, *args: Any, **kwargs: Any) -> None:
        classifier = model.segmentor.decode_head.prototype_classifier
        classifier.scale *= 1.001
        write(model, *args, **kwargs)

    monkeypatch.setattr(model_export, "write", write_another)
    with pytest.raises(ValueError, match=r"agree with PyTorch .* but found logits .* apart"):
        export_model(checkpoint, out, ExportSettings(**SMALL), force=True)
    assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_model_stays_as_it_is(checkpoint: Path) -> None:
    model = load(checkpoint)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    defaults = resize.__defaults__
    with unchecked_resizing():
        shipped = ShippedModel(model, fused=True, normalize=True, argmax=True)
        assert resize.__defaults__ != defaults
    assert resize.__defaults__ == defaults
    assert not any(name.startswith("segmentor.auxiliary") for name in shipped.state_dict())
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.decode_head.parameters())


def test_labels_are_judged_where_logits_are_clear() -> None:
    expected = torch.zeros(1, 2, 1, 4)
    expected[0, 0] = torch.tensor([1.0, 0.0005, 1.0, 1.0])
    equal, unclear, wrong = (torch.zeros(1, 1, 4, dtype=torch.int64) for _ in range(3))
    unclear[0, 0, 1] = wrong[0, 0, 0] = 1
    image = [torch.zeros(1, 3, 1, 4)]
    compare(lambda _: expected, lambda _: equal, image).check()
    found = compare(lambda _: expected, lambda _: unclear, image)
    assert (found.agreement, found.unclear, found.clear_errors) == (75, 25, 0)
    with pytest.raises(ValueError, match=r"75\.000 % equal labels, 0 wrong clear ones"):
        found.check()
    found = compare(lambda _: expected, lambda _: wrong, image)
    assert found.clear_errors == 1
    with pytest.raises(ValueError, match="1 wrong clear ones"):
        found.check()
    nan = compare(lambda _: expected, lambda _: expected * torch.nan, image)
    with pytest.raises(ValueError, match="logits nan apart"):
        nan.check()
    with pytest.raises(ValueError, match=r"shape \(1, 2, 1, 4\), but found \(1, 2, 2, 4\)"):
        compare(lambda _: expected, lambda _: torch.zeros(1, 2, 2, 4), image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tensorrt"}, "one of .*'torchscript'.*, but got tensorrt"),
        ({"size": (0, 24)}, "`height` to be at least 1, but got 0"),
        ({"batch": 0}, "`batch` to be at least 1"),
        ({"opset": 9}, "`opset` to be at least 17, but got 9"),
        ({"opset": 17, "dynamic": True}, "`opset` to be at least 18 for dynamic sizes"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExportSettings(**options)


def test_sizes_that_are_no_multiples(checkpoint: Path, tmp_path: Path) -> None:
    settings = ExportSettings(**SMALL, dynamic=True)
    with pytest.raises(ValueError, match="multiples of 32 .* but got 16x24.*--multiple-of 1"):
        export_model(checkpoint, tmp_path / "model.onnx", settings)


def test_swin_is_told_apart(checkpoint: Path, tmp_path: Path) -> None:
    from mmseg.models.backbones.swin import ShiftWindowMSA

    model = load(checkpoint)
    assert not has_shifted_windows(model)
    model.backbone = ShiftWindowMSA(8, 2, 4)
    assert has_shifted_windows(model)
    with pytest.raises(ValueError, match="Swin's shifted windows.* leave --dynamic out"):
        check_dynamic(model, ExportSettings(dynamic=True), (32, 32))


def test_where_it_may_write(tmp_path: Path) -> None:
    there = tmp_path / "model.onnx"
    there.touch()
    check_target(there, force=True)
    for path, error in (
        (there, r"is there\. Overwrite it with --force"),
        (tmp_path / "no" / "model.onnx", "Expected a folder .*Make it"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(OSError, match=error):
            check_target(path, force=False)
    with pytest.raises(ValueError, match=r"ends in \.onnx \(onnx\), .*Rename it, or give --format"):
        format_of(tmp_path / "model.bin")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_onnxruntime(name: str, *args: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_onnxruntime)
    with pytest.raises(ImportError, match=r"pip install 'mmseg-proto\[export\]'"):
        check_format("onnx", dynamic=False)
    check_format("torchscript", dynamic=False)
    monkeypatch.setattr(torch, "__version__", "2.0.1")
    with pytest.raises(ImportError, match=r"PyTorch 2\.3 or newer for torch_export, but"):
        check_format("torch_export", dynamic=False)


def test_the_command(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, repository: Path
) -> None:
    checkpoint = checkpoint_of(tmp_path_factory.mktemp("run"), of_host=True)
    tool = [sys.executable, str(repository / "tools" / "export_onnx.py")]
    out, report = tmp_path / "model.onnx", tmp_path / "report.json"
    command = [*tool, str(checkpoint), "-o", str(out), "--json", str(report), "--rounds", "1"]
    shown = subprocess.run(
        [*command, "--fused", "--argmax"], capture_output=True, text=True, check=True
    ).stdout
    assert "equal labels" in shown
    assert json.loads(report.read_text())["bytes"] == out.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "report.json"]


@pytest.mark.slow
def test_the_command_overwrites_nothing(checkpoint: Path, tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "model.onnx"
    out.write_text("older")
    tool = str(repository / "tools" / "export_onnx.py")
    command = [sys.executable, tool, str(checkpoint), "-o", str(out)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "Nothing was written." in found.stderr
    assert "--force" in found.stderr
    assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_the_snippet_of_the_readme(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = readme.TEXT.split("## Ship it")[1].split("\n## ")[0]
    assert "-o model.onnx --size 192 256 --fused --normalize --argmax" in section
    settings = ExportSettings(size=(192, 256), rounds=1, fused=True, normalize=True, argmax=True)
    export_model(checkpoint, tmp_path / "model.onnx", settings)
    Image.new("RGB", (512, 300)).save(tmp_path / "street.png")
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(section.split("```python\n")[1].split("```")[0], made)
    assert made["labels"].shape == (1, 192, 256)
    assert made["labels"].dtype == np.int64
