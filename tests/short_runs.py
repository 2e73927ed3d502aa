"""Short trainings of the demo's configs, and tools run as users run them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

TOOLS = Path(__file__).parents[1] / "tools"


def train_briefly(config: Path) -> Path:
    """Train 30 iterations in a folder beside a config, and return the checkpoint."""
    work_dir, name = config.parent / "run", config.parent.name
    cfg = Config.fromfile(config)
    # mmengine keeps visualisers by name, their folders with them.
    own = {"work_dir": str(work_dir), "experiment_name": name, "visualizer.name": name}
    cfg.merge_from_dict({**own, "train_cfg.max_iters": 30, "train_cfg.val_interval": 100})
    cfg.randomness = {"seed": 0}
    Runner.from_cfg(cfg).train()
    return work_dir / "iter_30.pth"


def run_tool(name: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool by its name, whatever its exit status."""
    command = [sys.executable, "-W", "ignore", str(TOOLS / f"{name}.py")]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
