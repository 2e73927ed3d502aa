"""Draws pixels and prototypes in two dimensions, beside those of another model if given."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python embedding_map.py proto.py proto.pth --against softmax.py "
        "softmax.pth -o map.png",
    )
    parser.add_argument("config", type=Path, help="config of a model, prototypes or softmax")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument(
        "--against",
        type=Path,
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="another model, to draw at its left",
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="picture to write; an .npz beside it"
    )
    parser.add_argument(
        "--method", choices=("pca", "tsne", "umap"), default="pca", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--per-class", type=int, default=100, metavar="N", help="pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="show these alone; give it after the files"
    )
    parser.add_argument(
        "--prototypes",
        type=int,
        metavar="N",
        help="of prototype models show of each class the N that win most of the pixels drawn, and "
        "the pixels that they win, coloured by prototype (default: all, by class)",
    )
    parser.add_argument("--images", type=int, metavar="N", help="training images (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    arguments = parser.parse_args()
    arrays = arguments.out.with_suffix(".npz")
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from rich.console import Console

            from mmseg_proto.apis import embedding_files, embedding_map
            from mmseg_proto.apis.embedding_figures import cosine_table
            from mmseg_proto.apis.trained import name_models
            from mmseg_proto.apis.whole_files import expect_new_file

            embedding_map.expect_method(arguments.method)
            for file in (arguments.out, arrays):
                expect_new_file(file, force=arguments.force)
            models = [tuple(arguments.against)] if arguments.against else []
            models.append((arguments.config, arguments.checkpoint))
            maps = embedding_map.sample_models(
                name_models(models),
                arguments.per_class,
                images=arguments.images,
                seed=arguments.seed,
                device=arguments.device,
                names=arguments.classes,
                prototypes=arguments.prototypes,
            )
            laid = [embedding_map.project(one, arguments.method, arguments.seed) for one in maps]
            embedding_files.save_npz(maps, laid, arrays)
            drawn = embedding_files.by_prototype(maps) if arguments.prototypes else maps
            embedding_files.write_maps(drawn, laid, arguments.method, arguments.out)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"No map was drawn. {error}")
    Console().print(cosine_table(maps))
    print(f"Map: {arguments.out.resolve()}\nArrays: {arrays.resolve()}")


if __name__ == "__main__":
    main()
