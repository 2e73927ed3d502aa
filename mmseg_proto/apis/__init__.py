"""What the scripts in `tools/` call, and `load`, which makes a model of its checkpoint."""

from .loading import load

__all__ = ["load"]
