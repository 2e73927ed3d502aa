"""How the prototypes of each class fare, as a table in the log and as curves."""

from collections.abc import Mapping, Sequence

from mmengine.runner import Runner
from prettytable import PrettyTable
from torch import Tensor


def class_names(runner: Runner, num_classes: int) -> list[str]:
    """Return the names of the classes of the training data, or their numbers.

    Args:
        runner: Runner with the data.
        num_classes: Number of classes, where the data does not name them.

    Returns:
        list[str]: Names.
    """
    classes = getattr(runner.train_dataloader.dataset, "metainfo", {}).get("classes")
    return [str(name) for name in classes or range(num_classes)]


def report_classes(
    runner: Runner, head: str, health: Mapping[str, Tensor], classes: Sequence[str], prefix: str
) -> None:
    """Log a table with one row per class, and send its numbers to the visualisation backends.

    Scalars are named ``<prefix>/<measure>/<class>``; a class without prototypes has none.

    Args:
        runner: Runner with the logger and the visualiser.
        head: Name of the head, for the title of the table.
        health: Measure to numbers of the classes, shape ``(C,)``, NaN where it means nothing;
            other shapes are left out.
        classes: Names of the classes.
        prefix: First part of the names of the scalars.
    """
    measures = {key: value.tolist() for key, value in health.items() if value.ndim == 1}
    table = PrettyTable(["Class", *measures])
    scalars = {}
    for index, label in enumerate(classes):
        row = [numbers[index] for numbers in measures.values()]
        table.add_row([label, *("-" if number != number else f"{number:.3f}" for number in row)])
        for key, number in zip(measures, row, strict=True):
            if number == number:
                scalars[f"{prefix}/{key}/{label}"] = number
    runner.logger.info(f"Prototypes of {head}:\n{table.get_string()}")
    runner.visualizer.add_scalars(scalars, step=runner.iter)
