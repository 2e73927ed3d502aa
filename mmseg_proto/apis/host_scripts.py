"""Runs the scripts of MMSegmentation as if they were ours."""

import runpy
import sys
from pathlib import Path

import mmseg


def run_host_script(name: str) -> None:
    """Runs a script of the host in place of the script that was started.

    Args:
        name: File name of it, such as 'train.py'. It reads the command line of this process.

    Raises:
        FileNotFoundError: If the host came without its scripts.
    """
    script = Path(mmseg.__file__).parent / ".mim" / "tools" / name
    if not script.is_file():
        raise FileNotFoundError(
            f"Expected MMSegmentation's script at {script}, but it is not there. Install "
            "MMSegmentation from a wheel, or run the script of your checkout of it."
        )
    # Where Python would look first if the host's script had been started itself.
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name="__main__")
