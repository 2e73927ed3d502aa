"""Runs the arms of the accuracy benchmark side by side and collects their results."""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from .accuracy_arms import parse_arm
from .accuracy_report import class_rows, draw_curves, markdown_table, rich_table, summary_rows
from .accuracy_runs import Budget, run_to_file

#: glibc gives large blocks back to the system after each use, and the page faults of getting them
#: anew are a sixth of a training step on CPUs. Read by a process as it starts.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 * 2**30),
    "MALLOC_TOP_PAD_": str(128 * 2**20),
}


def run_all(
    configs: Path,
    data_root: Path,
    out: Path,
    names: Sequence[str],
    seeds: Sequence[int],
    budget: Budget,
    jobs: int,
    console: Console,
) -> None:
    """Run every arm with every seed; what has a result already is left alone.

    Args:
        configs: Folder of the packaged configs.
        data_root: CamVid's folder.
        out: Folder for results and logs.
        names: Names of arms, see :func:`parse_arm`.
        seeds: Seeds.
        budget: What all arms share.
        jobs: Runs at the same time, each on its share of the processors.
        console: Where to report.

    Raises:
        ValueError: If a name is no arm.
    """
    arms = {name: parse_arm(name) for name in names}
    # Seed by seed, so that an interrupted benchmark holds whole pairs.
    todo = [
        (name, seed)
        for seed in seeds
        for name in names
        if not result_file(out, budget, name, seed).is_file()
    ]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    for key, value in _KEEP_MEMORY.items():
        os.environ.setdefault(key, value)
    # A fresh process for each run: nothing of one run can reach the next.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {}
        for name, seed in todo:
            file = result_file(out, budget, name, seed)
            arguments = (configs, arms[name], budget, seed, data_root, file.with_suffix(""))
            futures[pool.submit(run_to_file, file, threads, *arguments)] = f"{name}, seed {seed}"
        # On the console of the messages, which so stay above the bar.
        columns = *Progress.get_default_columns(), TimeElapsedColumn()
        shown = bool(todo) and console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
            task = bar.add_task("Training runs", total=len(todo))
            for future in as_completed(futures):
                future.result()
                console.print(f"{futures[future]}: done")
                bar.advance(task)


def result_file(out: Path, budget: Budget, name: str, seed: int) -> Path:
    """Name the file of a result."""
    where = f"without-{budget.hold_out}" if budget.hold_out else "val"
    return out / f"{where}-{budget.iterations}" / f"{name}-seed{seed}.json"


def read_results(out: Path, budget: Budget) -> dict[str, dict[int, dict[str, Any]]]:
    """Read all results of a budget.

    Args:
        out: Folder of the results.
        budget: What all arms share.

    Returns:
        dict[str, dict[int, dict[str, Any]]]: Name of arm to seed to result.
    """
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for file in sorted(result_file(out, budget, "any", 0).parent.glob("*-seed*.json")):
        name = file.stem.rpartition("-seed")[0]
        result = json.loads(file.read_text(encoding="utf-8"))
        results.setdefault(name, {})[result["seed"]] = result
    return results


def show_results(out: Path, budget: Budget, curves: Sequence[str], console: Console) -> None:
    """Print the tables of all results of a budget and write them beside the results.

    Writes ``summary.md`` and ``curves.png`` into the folder of the budget.

    Args:
        out: Folder of the results.
        budget: What all arms share.
        curves: Names of the arms to draw and to list class by class.
        console: Where to print.

    Raises:
        FileNotFoundError: If there are no results, or none of an arm in `curves`.
    """
    results = _in_order(read_results(out, budget))
    folder = result_file(out, budget, "any", 0).parent
    missing = [name for name in curves if name not in results]
    if missing:
        raise FileNotFoundError(f"Expected results of {', '.join(missing)} in {folder}.")
    chosen = {name: results[name] for name in curves}
    where = f"{budget.hold_out}, held back from train" if budget.hold_out else "val"
    tables = {
        f"mIoU (%) on {where}": summary_rows(results),
        "IoU per class (%), mean over seeds": class_rows(chosen),
    }
    text = ""
    for title, (head, rows) in tables.items():
        console.print(rich_table(title, head, rows))
        text += f"**{title}**\n\n{markdown_table(head, rows)}\n"
    (folder / "summary.md").write_text(text, encoding="utf-8")
    draw_curves(chosen, folder / "curves.png")
    console.print(f"Tables and curves: {folder}")


def _in_order(results: dict[str, Any]) -> dict[str, Any]:
    """Sort by name, softmax first."""
    names = sorted(results, key=lambda name: (not name.startswith("softmax"), name))
    return {name: results[name] for name in names}
