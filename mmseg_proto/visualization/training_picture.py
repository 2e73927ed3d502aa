"""Draws what training has told of its prototypes: a panel per number, and a row per class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .training_life import Curve, Lives, TrainingLife

#: What a number says, in the order of the panels.
_MEANINGS = {
    "mIoU": "mIoU of validation, %",
    "loss": "loss",
    "live_share": "share of prototypes that exist",
    "perplexity": "prototypes in use per class",
    "cosine": "mean cosine within a class (1: one point)",
    "largest_cosine": "cosine of the two most alike of a class",
    "drift": "turn per 1000 iterations, 1 - cosine",
    "scale": "scale from cosines to logits",
    "nonfinite": "pixels left out: embedding not finite",
}
#: Where a change in the last digits would look like much.
_FROM_ZERO = {_MEANINGS["live_share"], _MEANINGS["nonfinite"]}
_COLUMNS = 3
#: Looks of the marks of births and deaths.
_BORN = {"marker": "o", "c": "white", "edgecolors": "black", "linewidths": 0.8}
_DIED = {"marker": "x", "c": "red", "linewidths": 1.5}
#: Inches.
_WIDTH, _PANEL = 13.0, 2.3
#: Columns of a timeline that can be told apart; more are put together.
_MOST_COLUMNS = 240


def training_figure(life: TrainingLife, labels: Mapping[str, Sequence[str]]) -> Figure:
    """Draw the curves, and below them the timeline of each head.

    Args:
        life: What training has logged.
        labels: Head to the names of its classes as matplotlib reads them.

    Returns:
        Figure: To be saved.
    """
    panels = _panels(life.scalars)
    rows = -(-len(panels) // _COLUMNS)
    heights = [rows * _PANEL] if panels else []
    heights += [_timeline_height(len(lives[0].turn)) for lives in life.timeline.values()]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if panels:
        places = parts.pop(0).subplots(rows, _COLUMNS, squeeze=False).flatten()
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        last = max(steps[-1] for curves in panels.values() for steps, _ in curves.values())
        for axes, (title, curves) in zip(places, panels.items(), strict=False):
            _draw_panel(axes, title, curves)
            axes.set_xlim(0, 1.02 * last)
    for part, (head, lives) in zip(parts, life.timeline.items(), strict=True):
        names = labels.get(head) or [str(label) for label in range(len(lives[0].turn))]
        _draw_timeline(part, head, lives, names)
    return figure


def _panels(scalars: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Title to the curves of a panel by their names; several heads share one."""
    found: dict[str, dict[str, Curve]] = {key: {} for key in _MEANINGS}
    for name, curve in scalars.items():
        if name.startswith("prototype/"):
            head, _, measure = name.removeprefix("prototype/").rpartition("/")
            found.setdefault(measure, {})[head] = curve
        else:
            found["mIoU" if name == "mIoU" else "loss"][name] = curve
    return {_MEANINGS.get(key, key): curves for key, curves in found.items() if curves}


def _draw_panel(axes: Any, title: str, curves: Mapping[str, Curve]) -> None:
    for name, (steps, numbers) in curves.items():
        # Few points, as of validations, would be invisible as a line.
        marker = "o" if len(steps) <= 20 else ""
        axes.plot(steps, numbers, marker=marker, markersize=3, linewidth=1.2, label=name)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.locator_params(axis="x", nbins=6)
    axes.ticklabel_format(axis="y", useOffset=False)
    if title in _FROM_ZERO:
        axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(fontsize=6, framealpha=0.6)


def _row_height(classes: int) -> float:
    """Inches of the row of a class: room for marks where there are few, for a name in any case."""
    return 0.3 if classes <= 30 else 0.13


def _timeline_height(classes: int) -> float:
    return 1.4 + classes * _row_height(classes)


def _draw_timeline(part: Any, head: str, lives: Sequence[Lives], names: Sequence[str]) -> None:
    axes = part.subplots()
    edges, rate = _columns(lives)
    known = rate[rate > 0]
    if known.size:
        # Most of the way is made early: a linear scale would show the first columns alone.
        low, high = np.quantile(known, [0.02, 1.0])
        norm = LogNorm(max(low, high / 1e4), high * 1.0001)
        rows = np.arange(len(names) + 1) - 0.5
        shown = np.ma.masked_less_equal(np.nan_to_num(rate.T), 0)
        mesh = axes.pcolormesh(edges, rows, shown, norm=norm, cmap="viridis", rasterized=True)
        height = _timeline_height(len(names))
        bar = part.colorbar(mesh, ax=axes, aspect=6 * height, fraction=0.03, pad=0.01)
        bar.set_label("turn per 1000 iterations, 1 - cosine", fontsize=8)
        bar.ax.tick_params(which="both", labelsize=7)
    size = 72 * _row_height(len(names))
    born = _draw_marks(axes, lives, "born", _BORN, size)
    died = _draw_marks(axes, lives, "died", _DIED, size)
    axes.set_facecolor("0.93")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, fontsize=9 if size > 15 else 7)
    axes.set_xlabel("iterations", fontsize=9)
    axes.set_title(
        f"Prototypes of {head}: {born} born (circles) and {died} died (crosses), larger for more; "
        "colour: how far a class turned; grey: not at all, or unknown",
        fontsize=9,
    )


def _draw_marks(
    axes: Any, lives: Sequence[Lives], kind: str, style: Mapping[str, Any], size: float
) -> int:
    """Mark births or deaths, a mark for each class and report, and say how many there are."""
    counts: dict[tuple[float, int], int] = {}
    for change in lives:
        for label, _ in getattr(change, kind):
            place = (change.start + change.stop) / 2, label
            counts[place] = counts.get(place, 0) + 1
    most = max(counts.values(), default=1)
    # In square points; the largest fits into a row.
    sizes = [(size * (0.4 + 0.4 * count / most)) ** 2 for count in counts.values()]
    x, y = zip(*counts, strict=True) if counts else ((), ())
    axes.scatter(x, y, s=sizes, zorder=3, **style)
    return sum(counts.values())


def _columns(lives: Sequence[Lives]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges of the columns ``(M + 1,)`` and turn per 1000 iterations ``(M, C)``, NaN if unknown."""
    step = -(-len(lives) // _MOST_COLUMNS)
    groups = [lives[start : start + step] for start in range(0, len(lives), step)]
    edges = [lives[0].start, *(group[-1].stop for group in groups)]
    rates = []
    for group in groups:
        turn = np.array([change.turn for change in group], dtype=np.float64)
        spans = np.array([max(1, change.stop - change.start) for change in group])
        # A weighted mean over what is known of each class.
        span = np.where(np.isnan(turn), 0, spans[:, None]).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates.append(np.nansum(turn, axis=0) * 1000 / span)
    return np.array(edges, dtype=np.float64), np.array(rates)
