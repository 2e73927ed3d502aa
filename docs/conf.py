"""How Sphinx builds the pages: `make docs`.

Sources are the Markdown files as they lie in the repository, README.md among them, so that every
link leads to the same place on GitHub and in the pages.
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmseg_proto.version import __version__  # noqa: E402

project = "mmseg_proto"
author = "the authors of mmseg_proto"
project_copyright = f"{author}, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/api/*.md"]
exclude_patterns = [".*", "build", "dist", "work_dirs", "data"]

# Links to headings, as GitHub makes them; equations between dollars, as GitHub shows them.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# `name` is code in the docstrings, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = True
# Fields of a named tuple are members already.
napoleon_use_ivar = True

# Browsers show MathML by themselves: no script, no network.
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"mmseg_proto {__version__}"
html_copy_source = False


def forward_to_the_index(app: Sphinx, failed: Exception | None) -> None:
    """Let the folder itself lead to the first page, which lies in docs/ as its source does."""
    if failed is None and app.builder.format == "html":
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def inline_math(writer: HTML5Translator, node: nodes.math) -> None:
    """Write an equation within a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation of its own."""
    writer.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect what goes beyond settings."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("build-finished", forward_to_the_index)
