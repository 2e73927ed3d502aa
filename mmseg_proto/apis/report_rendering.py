"""Fills in the page of a report."""

from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parent / "report_page"


def require_libraries() -> None:
    """Look for what the page is made with, before hours are spent on its contents.

    Raises:
        ImportError: If one is missing.
    """
    try:
        import bokeh  # noqa: F401
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"A report needs bokeh and jinja2 ({error}): pip install 'mmseg-proto[analysis]'"
        ) from error


def render_page(context: dict[str, Any]) -> str:
    """Return the page as HTML that needs no other file.

    Everything that is filled in is escaped; what is not are our own script and style.

    Args:
        context: What the template fills in.
    """
    import jinja2
    from markupsafe import Markup

    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(_PAGE), autoescape=True)
    # Bokeh reads its models in the order in which they stand.
    pages.policies["json.dumps_kwargs"] = {"sort_keys": False}
    style, script = (
        Markup((_PAGE / file).read_text(encoding="utf-8")) for file in ("page.css", "page.js")
    )
    return pages.get_template("page.html").render(context, style=style, script=script)
