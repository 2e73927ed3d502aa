"""A model from its checkpoint alone: the config in the file is read as data, not run."""

import ast
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.apis import init_model
from mmseg.registry import MODELS

from mmseg_proto.hooks.checkpoint_files import load_weights

#: Packages whose registered classes a config in a checkpoint may name with their module.
_KNOWN = ("mmseg_proto", "mmseg", "mmcv", "mmengine")


def load(
    checkpoint: str | Path,
    config: str | Path | Config | None = None,
    device: str = "cpu",
    *,
    confidence: bool = False,
) -> Any:
    """Load a segmentor for `mmseg.apis.inference_model`.

    The weights are read without running anything that is in the file, and so is the config that
    MMEngine saves beside them. A `config` that is given is code, and is run.

    Args:
        checkpoint: Checkpoint of a runner, or of tools/swap_checkpoint.py.
        config: Its config. Defaults to None: the one in the checkpoint.
        device: Where the model is to be. Defaults to 'cpu'.
        confidence: Whether predictions say how sure they are and which prototype won, as those of
            `ProtoEncoderDecoder`. Defaults to False.

    Returns:
        Any: The segmentor in evaluation mode, with `cfg` and `dataset_meta`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it cannot be read, has no config, one that is more than plain data, or
            other weights than the model.
    """
    path = Path(checkpoint)
    loaded = load_weights(path)
    if config is None:
        text = (loaded.get("meta") or {}).get("cfg")
        if not isinstance(text, str):
            raise ValueError(
                f"Expected {path} to hold its config, as checkpoints of MMEngine's Runner do, but "
                "it has none. Give it: load(checkpoint, config='my_config.py')."
            )
        config = plain_config(text)
    if confidence:
        chosen = copy.deepcopy(config) if isinstance(config, Config) else Config.fromfile(config)
        chosen.model.type = with_confidence(chosen.model.type)
        config = chosen
    model: Any = init_model(config, device=device)
    weights = loaded.get("state_dict", loaded)
    missing, unknown = model.load_state_dict(weights, strict=False)
    if missing or unknown:
        raise ValueError(
            f"Expected the weights of the config in {path}, but {len(missing)} are missing "
            f"(first {missing[:2]}) and {len(unknown)} are unknown (first {unknown[:2]})."
        )
    meta = (loaded.get("meta") or {}).get("dataset_meta")
    if meta is not None:
        model.dataset_meta = meta
    return model


def build_bare(settings: Mapping[str, Any]) -> Any:
    """Build a segmentor on one process, whose weights come from elsewhere or do not matter.

    Args:
        settings: Config of the model.

    Returns:
        Any: The segmentor in evaluation mode, without pretrained weights and SyncBN.
    """
    backbone = {**settings["backbone"], "init_cfg": None}
    bare = {**settings, "pretrained": None, "backbone": backbone}
    return revert_sync_batchnorm(MODELS.build(bare)).eval()


def with_confidence(segmentor: str) -> str:
    """Name the segmentor that also says how sure it is.

    Args:
        segmentor: Registry name of a segmentor of the host.

    Returns:
        str: Its counterpart of this package; others stay as they are.
    """
    name = segmentor.rpartition(".")[2]
    return {
        "EncoderDecoder": "ProtoEncoderDecoder",
        "CascadeEncoderDecoder": "ProtoCascadeEncoderDecoder",
    }.get(name, segmentor)


def plain_config(text: str) -> Config:
    """Read the text of a config, in which nothing but plain values and `dict(...)` may stand.

    Args:
        text: As `Config.pretty_text` writes it.

    Returns:
        Config: The config, without its `custom_imports`.

    Raises:
        ValueError: If there is anything else in it, or a type that is imported by its path from a
            package other than the host and this one.
    """
    values: dict[str, Any] = {}
    try:
        for node in ast.parse(text).body:
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                raise ValueError(f"a statement in line {node.lineno}")
            values[node.targets[0].id] = _value(node.value)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected the config in the checkpoint to be plain values, but found {error}. Give "
            "the config as a file, if you trust it."
        ) from error
    values.pop("custom_imports", None)
    return Config(values)


def _value(node: ast.expr) -> Any:
    """Evaluate literals and `dict(...)`, and refuse all else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"an unusual dict in line {node.lineno}")
        return _checked({str(word.arg): _value(word.value) for word in node.keywords})
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError(f"an unusual dict in line {node.lineno}")
        pairs = zip(node.keys, node.values, strict=True)
        return _checked({ast.literal_eval(key): _value(value) for key, value in pairs if key})
    if isinstance(node, ast.List):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(element) for element in node.elts)
    return ast.literal_eval(node)


def _checked(values: dict[Any, Any]) -> dict[Any, Any]:
    """Have types looked up in registries alone: a path would import and call whatever it names."""
    kind = values.get("type")
    if isinstance(kind, str) and "." in kind:
        package, _, _ = kind.partition(".")
        if package not in _KNOWN:
            raise ValueError(f"a type of another package, {kind}")
        values["type"] = kind.rpartition(".")[2]
    return values
