"""Lists the packaged configs and copies one out: ``python -m mmseg_proto.configs``.

``mim train mmsegmentation CONFIG`` looks for a config on disk and then inside mmseg, never inside a
plugin, so a config that came in a wheel has to be copied out before mim can run it. The copy keeps
the files it inherits from as they are, comments and all, in their places beside it: a flattened
dump would repeat each setting, and an edit of the wrong one would change nothing.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_BASES = "_base_"


def config_root() -> Path:
    """Returns the folder of the packaged configs: in the wheel, or beside a source checkout.

    Raises:
        FileNotFoundError: If there is neither, as in a package that was copied by hand.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / ".mim" / "configs", package.parent / "configs")
    for folder in candidates:
        if (folder / _BASES).is_dir():
            return folder
    raise FileNotFoundError(
        f"Expected the configs of mmseg_proto to be in {' or '.join(map(str, candidates))}, but "
        f"got neither. Install the package again: "
        f"`pip install --force-reinstall --no-deps mmseg-proto`."
    )


def list_configs(root: Path) -> dict[str, str]:
    """Returns name and description of every runnable config.

    Args:
        root: Folder of the configs. What lies in its subfolders is only inherited from.
    """
    return {path.stem: _describe(path) for path in sorted(root.glob("*.py"))}


def _describe(path: Path) -> str:
    """Returns the first line of the docstring, or else of the leading comment."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    if docstring:
        return docstring.partition("\n")[0]
    first = text.partition("\n")[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def inherited_files(config: Path) -> list[Path]:
    """Returns every file that a config inherits from through ``_base_``, each once."""
    found: list[Path] = []
    for node in ast.parse(config.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign) or not any(
            isinstance(target, ast.Name) and target.id == _BASES for target in node.targets
        ):
            continue
        value = ast.literal_eval(node.value)
        for name in [value] if isinstance(value, str) else value:
            base = Path(os.path.normpath(config.parent / name))
            found += [base, *inherited_files(base)]
    return list(dict.fromkeys(found))


def copy_config(config: Path, target: Path, *, force: bool = False) -> list[Path]:
    """Copies a config with all it inherits from, which keeps its place relative to the config.

    Nothing is written unless everything can be. A file that is there already and is the same, as
    when a second config shares its bases with a first, is left alone.

    Args:
        config: The config to copy.
        target: The file to write.
        force: Whether to overwrite files that differ.

    Returns:
        list[Path]: The files written, the config itself first.

    Raises:
        FileExistsError: If a file that differs is in the way and `force` is not set.
    """
    copies = {target: config}
    for base in inherited_files(config):
        copies[Path(os.path.normpath(target.parent / os.path.relpath(base, config.parent)))] = base
    new = {to: source for to, source in copies.items() if not _same(source, to)}
    in_the_way = [str(to) for to in new if to.exists()]
    if in_the_way and not force:
        raise FileExistsError(
            f"Expected not to overwrite anything, but {', '.join(in_the_way)} exists and differs. "
            f"Nothing was written. Use --force to overwrite, or -o to write elsewhere."
        )
    for to, source in new.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
    return list(new)


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and target.read_bytes() == source.read_bytes()


def _find(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is meant, or says which ones are near."""
    stem, known = name.removesuffix(".py"), list(known)
    if stem in known:
        return stem
    near = difflib.get_close_matches(stem, known, cutoff=0.5) or [
        candidate for candidate in known if stem in candidate
    ]
    hint = f"Did you mean {' or '.join(near)}?" if near else "Leave the name out to list them."
    raise ValueError(f"Expected the name of a packaged config, but got {name!r}. {hint}")


def _target(output: str | None, stem: str) -> Path:
    """Returns the file to write: `output` is that file if it ends in .py, or its folder."""
    path = Path(output or ".")
    return path if path.suffix == ".py" else path / f"{stem}.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Lists the packaged configs, or copies one out.

    Args:
        arguments: What was given on the command line; by default that of this process.

    Returns:
        int: The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mmseg_proto.configs",
        description="List the packaged configs, or copy one out with all it inherits from.",
    )
    parser.add_argument("name", nargs="?", help="config to copy; without it, all are listed")
    parser.add_argument("-o", "--output", metavar="PATH", help="file (.py) or folder to write to")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    parser.add_argument("--path", action="store_true", help="print the folder they lie in")
    options = parser.parse_args(arguments)
    try:
        lines = _run(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _run(options: argparse.Namespace) -> list[str]:
    """Does what was asked and returns what to say about it."""
    root = config_root()
    if options.path:
        return [str(root)]
    configs = list_configs(root)
    if options.name is None:
        width = max(map(len, configs), default=0)
        return [f"{name:<{width}}  {text}" for name, text in configs.items()]
    stem = _find(options.name, configs)
    target = _target(options.output, stem)
    written = copy_config(root / f"{stem}.py", target, force=options.force)
    lines = [f"Wrote {path}" for path in written] or [f"{target} is there already, the same."]
    shown = target if target.is_absolute() else os.path.join(".", target)
    return [*lines, f"Next: mim train mmsegmentation {shown}"]


if __name__ == "__main__":
    sys.exit(main())
