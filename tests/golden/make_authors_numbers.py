"""Runs the authors' own code on inputs made by rule, and stores what comes out.

    git clone https://github.com/tfzhou/ProtoSeg && pip install einops yacs
    python tests/golden/make_authors_numbers.py ProtoSeg

Writes the files `authors_*.npz` beside this one; each names the commit that was run. Nothing of
the authors' code is stored. Their code wants packages and a GPU that none of this needs: timm, PVT
and torchcontrib are empty modules here, and `.cuda()` stays on the CPU.
"""

import argparse
import collections.abc
import importlib
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

# As tests import it; a script has its own folder on the path and not the one above.
sys.path.insert(0, str(Path(__file__).parents[1]))
from golden import rules

Arrays = dict[str, Any]


def main() -> None:
    """Read the command line, run everything and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of tfzhou/ProtoSeg")
    checkout = parser.parse_args().checkout.resolve()
    commit = _commit(checkout)
    if not commit.startswith(rules.COMMIT):
        sys.exit(f"Expected {checkout} at commit {rules.COMMIT}, but it is at {commit}.")
    sys.path.insert(0, str(checkout))
    _stub()
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        _write(commit, "logits", _logits(checkout))
        _write(commit, "softmax", _softmax_logits(checkout))
        _write(commit, "labels", _label_map(checkout, Path(folder)))
    _write(commit, "plans", _plans())
    _write(commit, "updates", _updates(checkout))
    _write(commit, "losses", _losses(checkout))


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _write(commit: str, name: str, arrays: Arrays) -> None:
    path = rules.HERE / f"authors_{name}.npz"
    np.savez_compressed(path, commit=np.array(commit), **arrays)
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, {sorted(arrays)[:6]}\n")


def _stub() -> None:
    """Put something in the place of what is not installed, none of which is run."""
    names = ["timm.models.layers", "torchcontrib", "lib.models.backbones.pvt"]
    names += [f"lib.models.backbones.pvt.{name}_backbone" for name in ("pvt", "pcpvt", "svt")]
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            parent = ".".join(parts[:end])
            if parent not in sys.modules and not (parts[0] == "lib" and end < 4):
                sys.modules[parent] = MagicMock(name=parent, __path__=[])
    sys.modules["timm.models.layers"].trunc_normal_ = nn.init.trunc_normal_  # type: ignore[attr-defined]
    Image.CUBIC = Image.BICUBIC  # type: ignore[attr-defined] # its name until Pillow 9
    for name in ("Iterable", "Sequence"):  # where they were until Python 3.9
        setattr(collections, name, getattr(collections.abc, name))
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    torch.cuda.synchronize = lambda *_: None


def _theirs(module: str) -> Any:
    """A module of their checkout."""
    return importlib.import_module(module)


def _configer(checkout: Path, name: str) -> Any:
    """Their settings from their file, and what their scripts give on the command line."""
    configer = _theirs("lib.utils.tools.configer").Configer(
        configs=str(checkout / "configs" / "cityscapes" / f"{name}.json")
    )
    settings = dict(backbone="hrnet48", bn_type="torchbn", resume=None, pretrained=None)
    for key, value in settings.items():
        put = configer.update if configer.exists("network", key) else configer.add
        put(["network", key], value)
    return configer


def _network(checkout: Path, *, softmax: bool = False) -> Any:
    """Their network with weights by rule, in evaluation mode and double precision."""
    hrnet = _theirs("lib.models.nets.hrnet")
    kind, settings = (
        (hrnet.HRNet_W48, "H_48_D_4") if softmax else (hrnet.HRNet_W48_Proto, "H_48_D_4_proto")
    )
    net = kind(_configer(checkout, settings))
    weights = rules.released_weights(net.backbone)
    weights = rules.softmax_weights(weights) if softmax else weights
    # Strict: the rule's names and shapes are those of their network, all of them.
    nn.DataParallel(net).load_state_dict(weights)
    return net.double().eval()


def _logits(checkout: Path) -> Arrays:
    net = _network(checkout)
    with torch.no_grad():
        return {rules.case_name(*case): net(rules.image(*case)).numpy() for case in rules.LOGITS}


def _softmax_logits(checkout: Path) -> Arrays:
    """Logits before they are resized to the image; resized ones too for the last case, fp32."""
    net, arrays = _network(checkout, softmax=True), {}
    net.cls_head.register_forward_hook(lambda *call: kept.append(call[2].numpy()))
    for case in rules.SOFTMAX:
        kept: list[Any] = []
        with torch.no_grad():
            resized = net(rules.image(*case)).numpy()
        arrays[rules.case_name(*case)] = kept[0]
    return {**arrays, "resized": resized[:1].astype(np.float32)}


def _label_map(checkout: Path, folder: Path) -> Arrays:
    """What their tester writes for a picture, in their order of files, transforms and resizing."""
    height, width, _ = rules.PICTURE
    (folder / "test" / "city").mkdir(parents=True)
    cv2.imwrite(str(folder / "test" / "city" / "made.png"), rules.picture())
    configer = _configer(checkout, "H_48_D_4_proto")
    configer.update(["data", "data_dir"], str(folder))
    configer.update(["data", "workers"], 0)
    # The size of their pictures is 2048x1024; this one is not padded either.
    configer.get("test", "data_transformer")["input_size"] = [width, height]
    configer.add(["test", "save_prob"], False)
    kind = _theirs("segmentor.tester").Tester
    tester = kind.__new__(kind)
    tester.configer, tester.save_dir = configer, str(folder / "out")
    tester.seg_net = _network(checkout).float()
    tester.batch_time, tester.test_size = MagicMock(sum=0.0), 1
    tester.test_loader = _theirs("lib.datasets.data_loader").DataLoader(configer).get_testloader()
    (inputs,) = (batch["img"] for batch in tester.test_loader)
    with torch.no_grad():
        # One class wins almost everywhere under these made weights. So all get the same mean.
        bias = tester.seg_net.mask_norm.bias
        bias -= tester.seg_net(inputs).mean(dim=(0, 2, 3))
    tester.test()
    # Their `label/` has no palette, and today's Pillow then writes one bit a pixel.
    written = Image.open(folder / "out" / "vis" / "made.png")
    return {
        "labels": np.array(written, np.uint8),
        "inputs": inputs[0].numpy(),
        "score_bias": bias.detach().numpy(),
    }


def _plans() -> Arrays:
    """Plans and targets of their Sinkhorn, and how often each prototype is drawn from one."""
    distributed_sinkhorn = _theirs("lib.models.modules.sinkhorn").distributed_sinkhorn
    arrays: Arrays = {}
    for pixels in rules.PLANS:
        with _plans_seen() as seen:
            _, targets = distributed_sinkhorn(rules.cosines(pixels))
        arrays[f"targets_{pixels}"] = targets.numpy()
        # Large plans every tenth row.
        arrays[f"plan_{pixels}"] = seen[0].numpy()[:: 10 if pixels > 1000 else 1]
    counts = torch.zeros(rules.DRAWN, rules.PROTOTYPES, dtype=torch.int64)
    for _ in range(rules.DRAWS):
        counts += distributed_sinkhorn(rules.cosines(rules.DRAWN))[0].long()
    arrays["counts"] = counts.numpy()
    return arrays


def _updates(checkout: Path) -> Arrays:
    """Training steps in a row of their forward pass on given embeddings."""
    arrays: Arrays = {}
    for name, gamma in (("fast", 0.9), ("slow", 0.999)):
        net = _bare_network(gamma)
        moved, targets = [], []
        for number in range(rules.STEPS):
            step = rules.training_step(number)
            output = _forward(net, step, sampled=True)
            moved.append(net.prototypes.data.clone())
            targets.append(output["target"])
        arrays[f"{name}_prototypes"] = torch.stack(moved)[:: 1 if name == "fast" else 19].numpy()
        arrays[f"{name}_targets"] = torch.stack(targets).numpy().astype(np.int16)
    # One step without ignored pixels, the largest of the plan instead of a sample, and a LayerNorm
    # over scores as it is at the start of a training.
    net = _bare_network(0.9)
    net.mask_norm.reset_parameters()
    step = rules.training_step(0, ignored=False)
    output = _forward(net, step, sampled=False)
    contrast, distance, _ = _criteria(checkout)
    loss = contrast(output["logits"], output["target"])
    loss = loss + distance(output["logits"], output["target"])
    gradient = torch.autograd.grad(loss, output["features"])[0]
    arrays["argmax_loss"] = loss.detach().numpy()
    arrays["argmax_gradient"] = gradient.numpy()
    arrays["argmax_prototypes"] = net.prototypes.data.numpy()
    return arrays


def _losses(checkout: Path) -> Arrays:
    """PPC and PPD; and the whole loss of a step with class weights, on labels of twice the size."""
    logits, targets = rules.loss_problem()
    contrast, distance, whole = _criteria(checkout)
    step = rules.training_step(0)
    output = _forward(_bare_network(0.999), step, sampled=True)
    loss = whole(output, rules.larger(step.labels))
    return {
        "ppc": contrast(logits, targets).numpy(),
        "ppd": distance(logits, targets).numpy(),
        "whole": loss.detach().numpy(),
        "whole_gradient": torch.autograd.grad(loss, output["features"])[0].numpy(),
    }


def _criteria(checkout: Path) -> tuple[Callable[..., Tensor], ...]:
    losses = _theirs("lib.loss.loss_proto")
    configer = _configer(checkout, "H_48_D_4_proto")
    configer.get("loss", "params")["ce_weight"] = list(rules.CLASS_WEIGHTS)
    whole = losses.PixelPrototypeCELoss(configer).double()
    return losses.PPC(configer), losses.PPD(configer), whole


def _bare_network(gamma: float) -> Any:
    """Their network without backbone and layers: what it is given are the embeddings."""
    kind = _theirs("lib.models.nets.hrnet").HRNet_W48_Proto
    classes, places, _ = rules.STEP_SHAPE
    net = kind.__new__(kind)
    nn.Module.__init__(net)
    net.gamma, net.num_prototype, net.num_classes = gamma, places, classes
    net.use_prototype = net.update_prototype = True
    # They join four maps; quarters of the channels at one size are joined to what they were.
    net.backbone = lambda features: features.chunk(4, dim=1)
    net.cls_head = net.proj_head = net.feat_norm = nn.Identity()
    net.mask_norm = nn.LayerNorm(classes).double()
    weight, bias = rules.score_norm()
    net.mask_norm.load_state_dict({"weight": weight, "bias": bias})
    net.prototypes = nn.Parameter(rules.start(), requires_grad=False)
    return net


def _forward(net: Any, step: rules.Step, *, sampled: bool) -> Arrays:
    """One pass of theirs, with the step's noise instead of PyTorch's where they sample."""
    labels = step.labels.flatten()
    features = step.embeddings.clone().requires_grad_()
    # They sample class by class, and skip classes that are absent.
    noise = [step.noise[labels == c] for c in range(net.num_classes) if (labels == c).any()]

    def fill(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        # Noise is -log of this; without it they take the largest of the plan.
        given = noise.pop(0)
        return tensor.copy_((-given).exp() if sampled else torch.ones_like(given))

    original = torch.Tensor.exponential_
    torch.Tensor.exponential_ = fill  # type: ignore[assignment,method-assign]
    try:
        output = net(features, gt_semantic_seg=step.labels[:, None])
    finally:
        torch.Tensor.exponential_ = original  # type: ignore[method-assign]
    assert not noise
    return {**output, "features": features}


@contextmanager
def _plans_seen() -> Iterator[list[Tensor]]:
    """Collect the plans that they sample from; their function returns the sample alone."""
    sinkhorn = _theirs("lib.models.modules.sinkhorn")
    seen: list[Tensor] = []
    real = sinkhorn.F

    def gumbel_softmax(plan: Tensor, **settings: Any) -> Tensor:
        seen.append(plan.clone())
        sample: Tensor = real.gumbel_softmax(plan, **settings)
        return sample

    sinkhorn.F = types.SimpleNamespace(gumbel_softmax=gumbel_softmax)
    try:
        yield seen
    finally:
        sinkhorn.F = real


if __name__ == "__main__":
    main()
