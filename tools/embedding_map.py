"""Draws pixels and prototypes in two dimensions, beside those of a softmax model if given."""

import argparse
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="config of the prototype model")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint")
    parser.add_argument(
        "--against",
        type=Path,
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="a softmax model to draw beside it",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write, a .png")
    parser.add_argument(
        "--method", choices=("pca", "tsne", "umap"), default="pca", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="pixels (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, metavar="N", help="training images (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    arguments = parser.parse_args()
    for name in ("per_class", "images"):
        number = getattr(arguments, name)
        if number is not None and number < 1:
            parser.error(f"expected --{name.replace('_', '-')} to be at least 1, but got {number}")
    arrays = arguments.out.with_suffix(".npz")
    try:
        # The host reports as it is imported what it could do without; nothing of it matters here.
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            from mmengine.config import Config

            from mmseg_proto.apis import embedding_map, load
            from mmseg_proto.apis.whole_files import expect_new_file

            for file in (arguments.out, arrays):
                expect_new_file(file, force=arguments.force)
            models = {"prototypes": (arguments.config, arguments.checkpoint)}
            if arguments.against:
                models = {"softmax": tuple(arguments.against), **models}
            maps = []
            for title, (config, checkpoint) in models.items():
                cfg = Config.fromfile(config)
                model = load(checkpoint, cfg, arguments.device)
                maps.append(
                    embedding_map.sample_embeddings(
                        cfg,
                        model,
                        title,
                        arguments.per_class,
                        images=arguments.images,
                        seed=arguments.seed,
                    )
                )
            laid = [embedding_map.project(one, arguments.method, arguments.seed) for one in maps]
            meta = model.dataset_meta
            embedding_map.save_npz(maps, laid, arrays)
            embedding_map.draw_map(maps, laid, meta["classes"], meta["palette"], arguments.out)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"No map was drawn. {error}")
    print(f"Map: {arguments.out.resolve()}\nArrays: {arrays.resolve()}")


if __name__ == "__main__":
    main()
