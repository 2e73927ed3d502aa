"""Names from data sets and checkpoints, where something would read them as its own language."""

from rich.text import Text


def for_terminal(name: str) -> Text:
    """Return a name that rich prints as it is, brackets and all, without control characters."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in name))


def for_picture(name: str) -> str:
    """Return a name in which a dollar sign starts no formula of matplotlib."""
    return name.replace("$", r"\$")


def for_markdown(name: str) -> str:
    """Return a name that stays within its cell of a Markdown table, and is no HTML."""
    name = name.replace("&", "&amp;").replace("<", "&lt;").replace("|", r"\|")
    return " ".join(name.split())
