"""Work on many files, in several processes, under a progress bar."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
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
    if workers <= 1:
        yield from under_bar(map(function, items), len(items), title)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from under_bar(pool.map(function, items, chunksize=8), len(items), title)


def under_bar(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yields items under a progress bar on stderr.

    Args:
        items: What to go through.
        total: Number of items.
        title: What stands before the bar, in rich's markup.
    """
    yield from track(
        items,
        description=title,
        total=total,
        console=Console(stderr=True),
        show_speed=False,
    )


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says on stderr what is being done, as long as the block runs, where nobody can count it.

    Args:
        what: What is done, as it is.
    """
    with Console(stderr=True).status(escape(what)):
        yield


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
