"""Pictures of what a prototype model sees."""

from mmseg_proto import _needs_host  # noqa: F401
