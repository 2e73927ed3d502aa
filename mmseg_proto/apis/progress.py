"""Work on many files, in several processes, under a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, track

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_with_progress(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str
) -> Iterator[Result]:
    """Yields what a function makes of each item, in their order, with a progress bar on stderr.

    Args:
        function: Something that can be pickled, where there are several workers.
        items: What to work on.
        workers: Processes; with one, the work is done in this process.
        title: What stands before the bar.
    """

    def under_bar(results: Iterator[Result]) -> Iterator[Result]:
        yield from track(
            results,
            description=title,
            total=len(items),
            console=Console(stderr=True),
            show_speed=False,
        )

    if workers <= 1:
        yield from under_bar(map(function, items))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from under_bar(pool.map(function, items, chunksize=8))


@contextmanager
def steps(total: int) -> Iterator[Callable[[str], None]]:
    """Gives a function to call with the name of each step as it begins, under a bar on stderr.

    Args:
        total: Number of steps.

    Yields:
        Callable[[str], None]: That function.
    """
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def begin(name: str) -> None:
            nonlocal begun
            bar.update(task, description=name, completed=begun)
            begun += 1

        yield begin


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says."""
    return str(error).partition("\n")[0]
