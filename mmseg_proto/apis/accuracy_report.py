"""Tables and curves of the accuracy benchmark."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from scipy import stats

from .foreign_text import for_markdown, for_terminal

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]
#: Final health of the prototypes; after these comes the perplexity of wins in validation.
_HEALTH = ("cosine", "perplexity")


class PairedDifference(NamedTuple):
    """Mean difference of two arms over the seeds that both have, with its confidence interval.

    Attributes:
        mean: Mean difference in points.
        low: Lower end of the 95 % interval (Student's t); NaN for a single pair.
        high: Upper end.
        pairs: Number of seeds.
    """

    mean: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.mean:+.2f}{interval}"


def final_miou(result: Mapping[str, Any]) -> float:
    """Return the mIoU of the last validation of a run, in percent."""
    return float(result["curve"][-1]["mIoU"])


def paired_difference(
    runs: Mapping[int, Mapping[str, Any]], baseline: Mapping[int, Mapping[str, Any]]
) -> PairedDifference:
    """Compare two arms seed by seed.

    Args:
        runs: Seed to result.
        baseline: The same of the other arm.

    Returns:
        PairedDifference: `runs` minus `baseline`.

    Raises:
        ValueError: If they share no seed.
    """
    seeds = sorted(set(runs) & set(baseline))
    if not seeds:
        raise ValueError(
            f"Expected two arms that share a seed, but got {sorted(runs)} and {sorted(baseline)}."
        )
    differences = np.array([final_miou(runs[s]) - final_miou(baseline[s]) for s in seeds])
    mean = float(differences.mean())
    if len(seeds) == 1:
        return PairedDifference(mean, math.nan, math.nan, 1)
    error = differences.std(ddof=1) / math.sqrt(len(seeds))
    reach = float(stats.t.ppf(0.975, len(seeds) - 1) * error)
    return PairedDifference(mean, mean - reach, mean + reach, len(seeds))


def summary_rows(results: Results, baseline: str = "softmax") -> tuple[list[str], list[list[str]]]:
    """Summarise every arm in one row, in the order of `results`.

    Args:
        results: Name of arm to seed to result.
        baseline: Arm that the others are compared with; not compared if it is not there.

    Returns:
        tuple[list[str], list[list[str]]]: Head of the table and its rows.
    """
    iterations = [
        point["iteration"] for run in _any_arm(results).values() for point in run["curve"]
    ]
    steps = sorted(set(iterations))
    head = ["arm", "seeds", *(f"at {step}" for step in steps), "sd"]
    head += [f"against {baseline}", *_HEALTH, "validation"]
    rows = []
    for name, runs in results.items():
        curves = np.array([[point["mIoU"] for point in run["curve"]] for run in runs.values()])
        spread = f"{curves[:, -1].std(ddof=1):.2f}" if len(runs) > 1 else "-"
        shared = set(runs) & set(results.get(baseline, {}))
        against = "-"
        if name != baseline and shared:
            against = str(paired_difference(runs, results[baseline]))
        # Softmax has no health, and a single prototype a class no cosine with others.
        last = [run["health"][-1] for run in runs.values() if run["health"]]
        health = [_mean_or_dash([point[key] for point in last if key in point]) for key in _HEALTH]
        wins = [list(run.get("validation_perplexity", {}).values()) for run in runs.values()]
        validation = _mean_or_dash([float(np.mean(numbers)) for numbers in wins if numbers])
        means = [f"{value:.2f}" for value in curves.mean(axis=0)]
        rows.append([name, str(len(runs)), *means, spread, against, *health, validation])
    return head, rows


def class_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """List the final IoU of every class, mean over seeds, arms side by side.

    Args:
        results: Name of arm to seed to result.

    Returns:
        tuple[list[str], list[list[str]]]: Head of the table and its rows.
    """
    last = next(iter(_any_arm(results).values()))["curve"][-1]
    classes = [key for key in last if key.startswith("IoU/")]
    rows = []
    for key in [*classes, "mIoU"]:
        means = [
            np.mean([run["curve"][-1][key] for run in runs.values()]) for runs in results.values()
        ]
        rows.append([key.removeprefix("IoU/"), *(f"{value:.2f}" for value in means)])
    return ["class", *results], rows


def rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Draw rows for a terminal."""
    table = Table(title=for_terminal(title), padding=(0, 0))
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(for_terminal, row))
    return table


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a Markdown table."""
    lines = [map(for_markdown, row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def draw_curves(results: Results, file: Path) -> None:
    """Draw mIoU over iterations, and how alike the prototypes of a class are beside it.

    Lines are means over seeds, bands the range between the lowest and the highest.

    Args:
        results: Name of arm to seed to result.
        file: Picture to write; its suffix says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    for number, (name, runs) in enumerate(results.items()):
        style = {"label": f"{name} ({len(runs)})", "color": f"C{number}"}
        _draw(left, [run["curve"] for run in runs.values()], "mIoU", marker="o", **style)
        health = [h for run in runs.values() if (h := run["health"]) and "cosine" in h[0]]
        if health:
            marker = "o" if len(health[0]) == 1 else ""
            _draw(right, health, "cosine", marker=marker, **style)
    left.set(xlabel="iteration", ylabel="mIoU (%)")
    right.set(
        xlabel="iteration", ylabel="mean cosine of prototypes inside a class", ylim=(-0.1, 1.02)
    )
    left.legend(title="arm (seeds)", fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def _draw(
    axes: Any, curves: Sequence[Sequence[Mapping[str, float]]], key: str, **style: Any
) -> None:
    steps = [point["iteration"] for point in curves[0]]
    values = np.array([[point[key] for point in curve] for curve in curves])
    axes.plot(steps, values.mean(axis=0), **style)
    low, high = values.min(axis=0), values.max(axis=0)
    axes.fill_between(steps, low, high, alpha=0.15, color=style["color"])


def _any_arm(results: Results) -> Mapping[int, Mapping[str, Any]]:
    if not results:
        raise ValueError("Expected results of at least one run, but got none.")
    return next(iter(results.values()))


def _mean_or_dash(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}" if values else "-"
