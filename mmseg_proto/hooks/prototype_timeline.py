"""What becomes of prototypes between two looks: births, deaths, turns and moves, and their file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from torch import Tensor

from mmseg_proto.prototypes import PrototypeBank, drift

#: Name of the timeline in the folder of a run.
TIMELINE = "prototype_timeline.jsonl"


@dataclass(frozen=True)
class Change:
    """What became of the prototypes of a head between two iterations.

    Attributes:
        start: Iterations done at the first look.
        stop: Iterations done at the second.
        born: Class and place of the prototypes that came to life.
        died: Class and place of those that died; one that died and whose place was seeded again
            is among the born as well.
        turn: One minus the cosine with where they were, mean over those of a class that lived
            all the while, ``(C,)``; NaN for a class without any.
        moves: Updates of all prototypes of a class together, ``(C,)``.
    """

    start: int
    stop: int
    born: tuple[tuple[int, int], ...]
    died: tuple[tuple[int, int], ...]
    turn: Tensor
    moves: Tensor

    def turn_rate(self) -> Tensor:
        """Turn per 1000 iterations, ``(C,)``; NaN for a class without any."""
        return self.turn * (1000 / max(1, self.stop - self.start))


class PrototypeLife:
    """Compares the prototypes of a bank with how they were at the last look.

    Args:
        bank: The prototypes. Those that it has now, as after resuming, are not born.
        iteration: Iterations done by now.
    """

    def __init__(self, bank: PrototypeBank, iteration: int) -> None:
        self.bank = bank
        self._remember(iteration)
        nothing = torch.full(self._alive.shape[:1], torch.nan)
        self._last = Change(iteration, iteration, (), (), nothing, torch.zeros_like(nothing))

    def look(self, iteration: int) -> Change:
        """Say what has changed since the last look; at the same iteration, the same once more.

        Args:
            iteration: Iterations done by now.

        Returns:
            Change: On the CPU. Needs no other rank.
        """
        if iteration == self._iteration:
            return self._last
        alive, updates = self.bank.alive_mask, self.bank.updates
        # The count of moves starts anew with a new life, in whatever place.
        again = alive & self._alive & (updates < self._updates)
        stayed = alive & self._alive & ~again
        turn = drift(self._directions, self.bank.directions, stayed)
        moves = torch.where(alive, updates - torch.where(stayed, self._updates, 0.0), 0.0)
        self._last = Change(
            start=self._iteration,
            stop=iteration,
            born=_places(alive & ~stayed),
            died=_places(self._alive & ~stayed),
            turn=turn.cpu(),
            moves=moves.sum(dim=1).cpu(),
        )
        self._remember(iteration)
        return self._last

    def _remember(self, iteration: int) -> None:
        self._iteration = iteration
        self._alive = self.bank.alive_mask
        self._updates = self.bank.updates.clone()
        self._directions = self.bank.directions.clone()


class TimelineFile:
    """Lines of JSON about the lives of prototypes, written by the main process alone.

    Each head has a line at the start of a run::

        {"head": "decode_head", "iteration": 0, "classes": ["sky", ...], "alive": [0, ...]}

    with how many prototypes of each class exist, and then one for each report::

        {"head": "decode_head", "start": 0, "stop": 50, "born": [[3, 0], [3, 1]], "died": [],
         "turn": [0.0012, null, ...], "moves": [50, 0, ...]}

    A report of 150 classes takes about 2 kB: 3200 of them, as of 160 000 iterations, 6 MB. Births
    and deaths take 9 bytes each.

    Args:
        path: The file. Lines are added to what is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cut = False

    def begin(self, head: str, iteration: int, classes: Sequence[str], alive: Tensor) -> None:
        """Write how a head starts.

        Args:
            head: Name of the head.
            iteration: Iterations done by now.
            classes: Names of the C classes.
            alive: Which prototypes exist, shape ``(C, K)``, bool.
        """
        counts = alive.sum(dim=1).tolist()
        line = {"head": head, "iteration": iteration, "classes": list(classes), "alive": counts}
        self._append(line)

    def add(self, head: str, change: Change) -> None:
        """Write what became of the prototypes of a head.

        Args:
            head: Name of the head.
            change: What became of them.
        """
        line = {
            "head": head,
            "start": change.start,
            "stop": change.stop,
            "born": change.born,
            "died": change.died,
            # Two digits tell as much as a colour shows, in a third of the space.
            "turn": [float(f"{x:.1e}") if x == x else None for x in change.turn.tolist()],
            "moves": [int(count) for count in change.moves.tolist()],
        }
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        if not is_main_process():
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                # What a full disk has cut short must not spoil the line after it.
                file.write("\n" * self._cut + json.dumps(line, separators=(",", ":")) + "\n")
            self._cut = False
        except OSError as error:
            if not self._cut:
                MMLogger.get_current_instance().warning(
                    f"The timeline of prototypes cannot be written, and training goes on: {error}. "
                    "Lines are missing from it until it can be."
                )
            self._cut = True


def _places(mask: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple((label, place) for label, place in mask.nonzero().tolist())
