"""What the log says of one head: numbers, timeline, a table, a line, and warnings."""

import math
from pathlib import Path
from typing import Any

from mmengine.runner import Runner
from torch import Tensor

from .class_report import class_names, report_classes
from .prototype_timeline import TIMELINE, PrototypeLife, TimelineFile
from .summary_line import summary_line

#: Mean cosine between the prototypes of a class from which on they are one point.
_COLLAPSED = 0.95


class HeadReport:
    """Reports on a prototype head of a training run.

    Made before anything is seeded, so that whatever training brings to life is born in it.

    Args:
        runner: Runner with the logger, the message hub and the visualiser.
        name: Name of the head.
        head: The `ProtoDecodeHead`.
        alone: Whether it is the only one, and numbers need not name it.
    """

    def __init__(self, runner: Runner, name: str, head: Any, *, alone: bool) -> None:
        self.name = name
        self.classifier = head.prototype_classifier
        self.classes = class_names(runner, head.num_classes)
        self._path = "" if alone else f"/{name}"
        self._collapsed: set[int] = set()
        self._life = PrototypeLife(self.classifier.bank, runner.iter)
        self._timeline = TimelineFile(Path(runner.log_dir) / TIMELINE)
        self._timeline.begin(name, runner.iter, self.classes, self.classifier.bank.alive_mask)
        self._seen = self._life.look(runner.iter)
        # What the next line in the log counts, and the last one with its iteration.
        self._since, self._born, self._died = runner.iter, 0, 0
        self._told = -1, ""

    def report(self, runner: Runner, iteration: int) -> None:
        """Send the numbers to the log, write the timeline, and warn.

        Asks all ranks for the number of pixels that were not finite: each calls this.

        Args:
            runner: The runner.
            iteration: Iterations done by now.
        """
        health = self._health(iteration)
        prefix = f"train/prototype{self._path}"
        for key, numbers in health.items():
            number = float(numbers.nanmean())
            if math.isfinite(number):  # perplexity is undefined before the first update
                runner.message_hub.update_scalar(f"{prefix}/{key}", number)
        self._warn_of_collapse(runner, health["cosine"])
        nonfinite = self.classifier.take_nonfinite()
        runner.message_hub.update_scalar(f"{prefix}/nonfinite", nonfinite)
        if nonfinite:
            runner.logger.warning(
                f"{nonfinite} pixels of {self.name} had an embedding that was not finite since the "
                "last report. They moved no prototype and had no part in the prototype losses. "
                "Lower the learning rate, clip gradients, or look at the loss scale."
            )

    def list_classes(self, runner: Runner) -> None:
        """Log a table of the health of each class, and send it to the backends."""
        health = self.classifier.health()
        prefix = f"prototype_classes{self._path}"
        report_classes(runner, self.name, health, self.classes, prefix)

    def sum_up(self, runner: Runner) -> None:
        """Log one line; at the same iteration, the same once more."""
        if self._told[0] != runner.iter:
            health = self._health(runner.iter)
            line = summary_line(
                self.name,
                health,
                self.classes,
                self.classifier.bank.shape[1],
                born=self._born,
                died=self._died,
                since=self._since,
            )
            self._told = runner.iter, line
            self._since, self._born, self._died = runner.iter, 0, 0
        runner.logger.info(self._told[1])

    def _health(self, iteration: int) -> dict[str, Tensor]:
        """Health of the classes, with their drift; what has changed goes into the timeline."""
        health: dict[str, Tensor] = self.classifier.health()
        change = self._life.look(iteration)
        health["drift"] = change.turn_rate()
        if change is not self._seen:
            self._seen = change
            self._born += len(change.born)
            self._died += len(change.died)
            self._timeline.add(self.name, change)
        return health

    def _warn_of_collapse(self, runner: Runner, cosine: Tensor) -> None:
        collapsed = set((cosine > _COLLAPSED).nonzero().flatten().tolist())
        fresh = sorted(collapsed - self._collapsed)
        self._collapsed = collapsed
        if fresh:
            runner.logger.warning(
                f"The prototypes of {self.name} have collapsed for "
                f"{', '.join(self.classes[index] for index in fresh)}: their mean "
                f"cosine is above {_COLLAPSED}, so that they stand for one point. Lower "
                "`num_prototypes`, raise `decay`, or look at them with "
                "tools/inspect_prototypes.py."
            )
