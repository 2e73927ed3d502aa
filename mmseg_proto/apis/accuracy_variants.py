"""The arms of the accuracy benchmark."""

from typing import Any

from .accuracy_runs import Variant

_HEAD = "model.decode_head"


def _softmax(**options: Any) -> Variant:
    return Variant("softmax_lite0_camvid.py", {k.replace("__", "."): v for k, v in options.items()})


def _proto(options: dict[str, Any] | None = None, **head: Any) -> Variant:
    """Prototypes with arguments of the head changed."""
    changed = {f"{_HEAD}.{key}": value for key, value in head.items()}
    return Variant("proto_lite0_camvid.py", {**changed, **(options or {})})


def _losses(contrast: float, distance: float, **more: Any) -> dict[str, Any]:
    return {"contrast_weight": contrast, "distance_weight": distance, **more}


VARIANTS: dict[str, Variant] = {
    "softmax": _softmax(),
    "prototypes": _proto(),
    # Equal effort for both: the learning rate, and softmax without its dropout.
    "softmax-lr-half": _softmax(optim_wrapper__optimizer__lr=0.00075),
    "softmax-lr-double": _softmax(optim_wrapper__optimizer__lr=0.003),
    "softmax-no-dropout": _softmax(model__decode_head__dropout_ratio=0.0),
    "prototypes-lr-half": _proto({"optim_wrapper.optimizer.lr": 0.00075}),
    "prototypes-lr-double": _proto({"optim_wrapper.optimizer.lr": 0.003}),
    # The losses.
    "ce": _proto(loss_prototype=_losses(0.0, 0.0)),
    "ce-ppc": _proto(loss_prototype=_losses(0.01, 0.0)),
    "ce-ppd": _proto(loss_prototype=_losses(0.0, 0.01)),
    "losses-tenfold": _proto(loss_prototype=_losses(0.1, 0.1)),
    "losses-warm-up": _proto(loss_prototype=_losses(0.01, 0.01, warmup_iterations=300)),
    # Prototypes per class.
    "k-1": _proto(num_prototypes=1),
    "k-5": _proto(num_prototypes=5),
    "k-20": _proto(num_prototypes=20),
    # How they move.
    "decay-0.99": _proto(decay=0.99),
    "decay-0.9999": _proto(decay=0.9999),
    "clock-2": _proto(update={"clock": 2}),
    "correct-only": _proto(update={"pixels": "correct"}),
    # What they are assigned, and how they start.
    "nearest-own": _proto(clustering={"assign": "nearest"}),
    "gumbel": _proto(clustering={"assign": "gumbel"}),
    "revive": _proto(seeding={"revive_interval": 200}),
    "random-start": _proto(seeding={"source": "random"}),
    # What stands around them.
    "layer-norm-scores": _proto(score_scale={"kind": "layer_norm"}),
    "fixed-scale": _proto(score_scale={"learnable": False}),
    "no-feature-norm": _proto(feature_norm=None),
    "scale-20": _proto(score_scale={"init": 20.0}),
    "projection": _proto(projection={"num_layers": 1}),
    "projection-decay-0.9999": _proto(projection={"num_layers": 1}, decay=0.9999),
    "authors": _proto(
        clustering={"assign": "gumbel"},
        seeding={"source": "random"},
        score_scale={"kind": "layer_norm"},
        update={"pixels": "correct"},
        projection={"num_layers": 2},
    ),
}
