"""What the data set tests share."""

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def _mmseg_scope() -> Iterator[None]:
    """Finds transforms in MMSegmentation's registry, as a Runner of a config does."""
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield
