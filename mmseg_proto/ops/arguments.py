"""Types of arguments that come from configs and command lines, where numbers may be text."""

import math
from typing import Any


def expect_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False, such as the text ``'no'``, which counts as true.

    Args:
        name: Name of the argument, for the message.
        value: What was given.

    Raises:
        TypeError: If it is of another type.
    """
    if not isinstance(value, bool):
        raise TypeError(f"Expected `{name}` to be True or False, but got {value!r}.")


def expect_number(name: str, value: Any, *, whole: bool = False) -> None:
    """Refuse what is no number, before it is compared with one.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        whole: Whether it must be a whole number. Defaults to False.

    Raises:
        TypeError: If it is of another type; text, None and bool are.
        ValueError: If it is NaN.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "a whole number" if whole else "a number"
        raise TypeError(
            f"Expected `{name}` to be {kind}, but got {value!r} ({type(value).__name__})."
        )
    if math.isnan(value):
        raise ValueError(f"Expected `{name}` to be a number, but got {value}.")
