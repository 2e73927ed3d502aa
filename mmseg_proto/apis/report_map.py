"""The map of the report, drawn by Bokeh when it is first looked at."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_proto.heads.decoders import last_head

from .embedding_map import EmbeddingMap, project, sample_embeddings
from .trained import Trained

#: Pixels of all classes together.
_MOST_POINTS = 3000
_IMAGES = 60


def map_context(
    cfg: Config, model: Any, against: tuple[Path, Path] | None, images: int | None, seed: int
) -> dict[str, Any]:
    """Prepare the map of a prototype model, beside that of a softmax model if there is one.

    Args:
        cfg: Config of the prototype model.
        model: The model.
        against: Config and checkpoint of the softmax model, or None.
        images: Training images to look at, at most 60; None for 60.
        seed: Seed of everything random.

    Returns:
        dict[str, Any]: What the template fills in.
    """
    from bokeh.embed import json_item
    from bokeh.layouts import row
    from bokeh.resources import INLINE

    images = min(images or _IMAGES, _IMAGES)
    per_class = max(1, _MOST_POINTS // last_head(model).num_classes)
    maps = [sample_embeddings(cfg, model, "prototypes", per_class, images=images, seed=seed)]
    if against is not None:
        other, softmax = Trained("softmax", *against).load(str(next(model.parameters()).device))
        maps.insert(
            0, sample_embeddings(other, softmax, "softmax", per_class, images=images, seed=seed)
        )
    drawn = row([_figure(one) for one in maps], sizing_mode="stretch_width")
    core = next(part for part in INLINE.js_raw if "Bokeh" in part)
    return {
        "method": "PCA",
        "parametric": "softmax" if against is not None else None,
        "text": f"{len(maps[0].points):,} pixels of {images} training pictures.",
        "item": json_item(drawn),
        "library": core,
    }


def _figure(sample: EmbeddingMap) -> Any:
    """Draw a map; what is under the pointer is named."""
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    points, anchors = project(sample)
    names = sample.classes
    colours = ["#{:02x}{:02x}{:02x}".format(*(int(part) for part in rgb)) for rgb in sample.palette]
    plot = figure(
        title=sample.title,
        height=520,
        sizing_mode="stretch_width",
        output_backend="canvas",
        tools="pan,wheel_zoom,box_zoom,reset",
    )
    plot.axis.visible = False
    plot.grid.visible = False

    def source(places: Any, labels: list[int], called: list[str]) -> dict[str, Any]:
        return {
            "x": places[:, 0].round(4).tolist(),
            "y": places[:, 1].round(4).tolist(),
            "colour": [colours[label] for label in labels],
            "name": called,
        }

    labels = sample.labels.tolist()
    plot.scatter(
        source=source(points, labels, [names[c] for c in labels]),
        size=4,
        fill_color="colour",
        line_color=None,
        fill_alpha=0.5,
    )
    own = list(zip(sample.anchor_labels.tolist(), sample.anchor_numbers.tolist(), strict=True))
    kind = sample.kind.removesuffix("s")
    rings = plot.scatter(
        source=source(anchors, [c for c, _ in own], [f"{names[c]}, {kind} {k}" for c, k in own]),
        size=10,
        fill_color="colour",
        line_color="black",
        line_width=1.5,
    )
    plot.add_tools(HoverTool(renderers=[rings], tooltips=[("", "@name")]))
    return plot
