"""The names of the recipes, each a softmax config and its twin with prototypes."""

from pathlib import Path
from typing import Any

from data_folders import LAYOUTS

CONFIGS = Path(__file__).parents[1] / "configs"
DATA_SETS = tuple(LAYOUTS)
PAPER = ("fcn_r101", "hrnet_w48", "upernet_swin_b", "segformer_b4")
OTHERS = (
    "mlp_swin_b",
    "segformer_b4_768",
    "fcn_r50",
    "upernet_swin_t",
    "segformer_b0",
    "segformer_b2",
)
RECIPES = [f"{model}_{data}" for model in PAPER + OTHERS for data in DATA_SETS]
#: Numbers of classes of ADE20K-full.
FULL = (150, 300, 500, 700, 847)
#: The authors' arrangement, beside the recipes.
AUTHORS = "hrnet_w48_authors_cityscapes"
ABLATIONS: dict[str, dict[str, Any]] = {
    "ce": dict(loss_prototype=dict(contrast_weight=0.0, distance_weight=0.0)),
    "ce_ppc": dict(loss_prototype=dict(distance_weight=0.0)),
    "ce_ppd": dict(loss_prototype=dict(contrast_weight=0.0)),
    "paper_weights": dict(preset="paper"),
    **{f"k{k}": dict(num_prototypes=k) for k in (1, 5, 20, 50)},
}
