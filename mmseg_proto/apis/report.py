"""One HTML file that says what every prototype of a model stands for."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmseg_proto.heads import ProtoDecodeHead
from mmseg_proto.heads.decoders import last_head

from .comparison_report import comparison_context
from .gallery import build_gallery
from .inspection import read_prototypes, report
from .loading import load
from .model_comparison import Trained, compare_models
from .report_classes import class_payloads, class_rows, examples_for
from .report_map import map_context
from .report_pictures import address_of, ask_pictures, data_address
from .report_rendering import render_page, require_libraries
from .training_life import read_training_life, training_picture
from .whole_files import expect_new_file, written_whole

_MADE_WITH = ("mmseg-proto", "torch")


@dataclass(frozen=True)
class ReportSettings:
    """What goes into a report.

    Args:
        images: Training images to look at. Defaults to None: all.
        examples: Training pixels for each prototype; fewer where there are very many prototypes.
        pictures: Validation pictures to ask, at least 1.
        compared: Validation images to compare on. Defaults to None: all.
        against: Config and checkpoint of a softmax model to compare with. Defaults to None.
        device: Where the models run.
        seed: Seed of what is drawn.

    Raises:
        ValueError: If a number is below 1.
    """

    images: int | None = None
    examples: int = 4
    pictures: int = 6
    compared: int | None = None
    against: tuple[Path, Path] | None = None
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("images", "examples", "pictures", "compared"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")


def write_report(
    config: Path, checkpoint: Path, out: Path, settings: ReportSettings, *, force: bool = False
) -> None:
    """Look at a trained prototype model, and write the report.

    Args:
        config: Config of the model.
        checkpoint: Its checkpoint.
        out: The HTML file.
        settings: What goes into it.
        force: Whether to overwrite a file. Defaults to False.

    Raises:
        FileExistsError: If the file is there and may not be overwritten.
        ImportError: If a package that it is made with is missing.
        TypeError: If the model has no prototypes.
    """
    expect_new_file(out, force=force)
    require_libraries()
    cfg = Config.fromfile(config)
    context = report_context(cfg, checkpoint, settings)
    if settings.against is not None:
        found = compare_models(
            Trained("softmax", *settings.against),
            Trained("prototypes", config, checkpoint),
            images=settings.compared,
            device=settings.device,
        )
        context["comparison"] = comparison_context(found)
        means = context["comparison"]["means"]
        for name, mean in zip(("softmax", "prototypes"), means, strict=True):
            context["numbers"].append({"name": f"mIoU with {name}", "value": f"{mean} %"})
    context["facts"] = _facts(config, checkpoint, settings)
    text = render_page(context)
    with written_whole(out) as draft:
        draft.write_text(text, encoding="utf-8")


def report_context(cfg: Config, checkpoint: Path, settings: ReportSettings) -> dict[str, Any]:
    """Find everything that the page shows.

    Args:
        cfg: Config of the model.
        checkpoint: Its checkpoint.
        settings: What goes into the report.

    Returns:
        dict[str, Any]: What the template fills in.
    """
    model = load(checkpoint, cfg, settings.device)
    head = last_head(model)
    if not isinstance(head, ProtoDecodeHead):
        raise TypeError(
            f"Expected a model with a ProtoDecodeHead, but got {type(head).__name__}. Give the "
            "softmax model by --against."
        )
    bank: Any = head.prototype_classifier.bank
    classes, places = bank.shape
    names = [str(name) for name in model.dataset_meta["classes"]]
    palette = model.dataset_meta["palette"]
    alive = int(bank.alive_mask.sum())
    gallery = build_gallery(
        cfg,
        model,
        images=settings.images,
        examples=examples_for(alive, settings.examples),
        seed=settings.seed,
    )
    asked = ask_pictures(cfg, model, settings.pictures)
    rows = class_rows(gallery, names, palette)
    first = asked[len(asked) // 2]
    seen = torch.bincount(first.found.winner // places, minlength=classes)
    numbers = [
        {"name": "classes", "value": classes},
        {"name": "living prototypes", "value": f"{alive:,} of {classes * places:,}"},
        {"name": "training pictures looked at", "value": f"{len(gallery.sizes):,}"},
    ]
    context: dict[str, Any] = {
        "title": f"What the prototypes of {Path(cfg.filename).stem} stand for",
        "num_prototypes": alive,
        "classes": rows,
        "numbers": numbers,
        "overview": {
            "name": first.name,
            "photo": data_address(first.image),
            "prediction": data_address(first.prediction(places, palette)),
            "overlay": data_address(first.overlay(places)),
            "classes": [c for c in seen.argsort(descending=True).tolist() if seen[c]][:12],
        },
        "names": {"classes": names, "places": places},
        "class_payloads": class_payloads(gallery, names),
        "pictures": [{"name": picture.name} for picture in asked],
        "picture_payloads": [picture.payload(places) for picture in asked],
        "health": _health(checkpoint),
        "map": map_context(cfg, model, settings.against, settings.images, settings.seed),
        "comparison": None,
        "training": _training(checkpoint.parent),
    }
    return context


def _health(checkpoint: Path) -> dict[str, Any]:
    """Say how the prototypes of each class fare, as a table."""
    said = report(read_prototypes(checkpoint)[-1])
    columns = [name for name in said["classes"][0] if name != "name"]
    rows = [
        {
            "name": row["name"],
            "values_": ["-" if row[key] is None else f"{row[key]:.2f}" for key in columns],
        }
        for row in said["classes"]
    ]
    return {"columns": [name.replace("_", " ") for name in columns], "rows": rows}


def _training(work_dir: Path) -> str | None:
    """Draw how the prototypes fared in training, None where nothing is logged of it."""
    try:
        life = read_training_life(work_dir)
    except (FileNotFoundError, ValueError):
        return None
    return address_of(training_picture(life), "png")


def _facts(config: Path, checkpoint: Path, settings: ReportSettings) -> list[dict[str, str]]:
    looked = "all" if settings.images is None else f"{settings.images}, seed {settings.seed}"
    facts = [
        ("config", config.name),
        ("checkpoint", checkpoint.name),
        ("training images looked at", looked),
        ("made with", ", ".join(f"{name} {metadata.version(name)}" for name in _MADE_WITH)),
    ]
    if settings.against is not None:
        facts.insert(2, ("compared with", settings.against[1].name))
    return [{"name": name, "value": value} for name, value in facts]
