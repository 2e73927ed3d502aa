"""What the scripts in `tools/` call, and `load`, which makes a model of its checkpoint."""

from mmseg_proto import _needs_host  # noqa: F401

from .loading import load

__all__ = ["load"]
