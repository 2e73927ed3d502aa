"""Sheets of explanations as PNG files: what tools/explain.py writes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmseg_proto.visualization.explanation import Explanation
from mmseg_proto.visualization.explanation_picture import draw_classes, draw_explanation

from .explaining import explain_files, explain_split, list_images, split_dataset
from .loading import load
from .trained import classes_of, find_classes
from .whole_files import write_png


@dataclass(frozen=True)
class SheetSettings:
    """What is drawn.

    Attributes:
        images: How many, spread evenly over the folder or data set; None for all.
        classes: Classes with a row, at most; or names of the classes that have an overlay each.
        prototypes: Prototypes of each class that are shown alone, at most, or that are coloured
            in overlays of named classes; None for 5 and for all of them.
        device: Where the model runs.

    Raises:
        ValueError: If a number is below 1, or there is no name.
    """

    images: int | None = None
    classes: int | Sequence[str] = 4
    prototypes: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("images", "classes", "prototypes"):
            number = getattr(self, name)
            if isinstance(number, int) and number < 1:
                raise ValueError(f"Expected `{name}` to be at least 1, but got {number}.")
        if not isinstance(self.classes, int) and not self.classes:
            raise ValueError("Expected `classes` to be a number or names, but got no name.")

    def chosen(self, count: int) -> list[int]:
        """Return the numbers of the images that are drawn, of so many."""
        number = count if self.images is None else min(self.images, count)
        return [int(place) for place in np.linspace(0, count - 1, number)]


@dataclass
class WrittenSheets:
    """What was written, and why the rest was not."""

    files: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def write_explanations(
    config: Path,
    checkpoint: Path,
    source: Path | str,
    out: Path,
    settings: SheetSettings | None = None,
    *,
    force: bool = False,
) -> WrittenSheets:
    """Draw how prototypes explain predictions, a PNG file for each image.

    Args:
        config: Config of the prototype model.
        checkpoint: Its checkpoint.
        source: An image or a folder of images as a `Path`, or the name of a split of the config's
            data sets as a string.
        out: Folder of the files.
        settings: What is drawn. Defaults to None: the defaults.
        force: Whether `out` may have files already. Defaults to False.

    Returns:
        WrittenSheets: The files, and what is wrong with images of a folder that cannot be read.

    Raises:
        FileExistsError: If `out` has files and may not.
        FileNotFoundError: If something that is read is not there.
        ValueError: If no image can be read, the model has no class of a name in `settings`, or
            something is not what it has to be.
    """
    settings = settings or SheetSettings()
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not force:
        raise FileExistsError(
            f"Expected a new or empty folder, but {out} has files. Write into it with --force."
        )
    cfg = Config.fromfile(config)
    written = WrittenSheets()
    # What there is to look at is known before the model is loaded.
    if isinstance(source, Path):
        found = list_images(source)
        images = [found[place] for place in settings.chosen(len(found))]
        on_unreadable = written.skipped.append if source.is_dir() else None
        model = load(checkpoint, cfg, settings.device)
        known = None
        drawn = explain_files(model, cfg, images, on_unreadable=on_unreadable)
    else:
        dataset = split_dataset(cfg, source)
        indices, known = settings.chosen(len(dataset)), dataset.metainfo.get("classes")
        model = load(checkpoint, cfg, settings.device)
        drawn = explain_split(model, cfg, source, indices)
    if not isinstance(settings.classes, int):
        find_classes(settings.classes, known or classes_of(model)[0])
    written.files.extend(write_sheets(drawn, out, settings))
    if not written.files:
        raise ValueError(f"Expected images, but none can be read. {' '.join(written.skipped)}")
    return written


def write_sheets(
    explanations: Iterable[Explanation], out: Path, settings: SheetSettings
) -> Iterator[Path]:
    """Draw explanations, and write each sheet whole.

    Args:
        explanations: The explanations.
        out: Folder of the files, made if it is missing.
        settings: What is drawn.

    Yields:
        Path: Each file: named as its image, and where two images of different suffixes or folders
        share that, with the suffix and a number besides.
    """
    taken: set[str] = set()
    for explanation in explanations:
        chosen, prototypes = settings.classes, settings.prototypes
        if isinstance(chosen, int):
            picture = draw_explanation(explanation, classes=chosen, prototypes=prototypes or 5)
        else:
            labels = find_classes(chosen, explanation.classes)
            picture = draw_classes(explanation, labels, prototypes=prototypes)
        out.mkdir(parents=True, exist_ok=True)
        path = out / _free_name(explanation.name, taken)
        write_png(path, picture)
        yield path


def _free_name(name: str, taken: set[str]) -> str:
    """A name for the sheet of an image; not all file systems tell capitals from small letters."""
    stems = [Path(name).stem, name]
    while stems[0].casefold() in taken:
        stems = stems[1:] or [f"{name}_{len(taken)}"]
    taken.add(stems[0].casefold())
    return f"{stems[0]}.png"
