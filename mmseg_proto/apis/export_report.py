"""The report of an export as a table."""

from typing import Any


def report_rows(report: dict[str, Any]) -> list[list[str]]:
    """List what an export found, for people.

    Args:
        report: From `export_model`.

    Returns:
        list[list[str]]: Name and value, row by row.
    """
    parity, latency = report["parity"], report["latency"]
    sizes = ", ".join(f"{height}x{width}" for height, width in parity["sizes"])
    rows = [
        ["file", f"{report['bytes'] / 2**20:.1f} MiB, {report['format']}"],
        ["input images", _shape(report, "3")],
        [
            f"output {report['output']}",
            _shape(report, None if report["output"] == "labels" else "C"),
        ],
        ["compared", f"{parity['images']} images of {sizes}"],
    ]
    if parity["largest_difference"] is not None:
        rows.append(
            [
                "largest difference of a logit",
                f"{parity['largest_difference']:.1e} (logits up to {parity['largest_logit']:.1f})",
            ]
        )
    rows += [
        ["equal labels", f"{parity['agreement']:.3f} % of all pixels"],
        [
            "wrong labels where the best two logits are apart",
            f"{parity['clear_errors']} ({parity['unclear']:.3f} % of pixels are unclear)",
        ],
        [
            f"PyTorch, threads: {latency['threads']}, {'x'.join(map(str, latency['size']))}",
            f"{latency['pytorch_ms']:.1f} ms",
        ],
        [
            "the file",
            f"{latency['exported_ms']:.1f} ms, {latency['ratio']:.2f} times that",
        ],
        ["versions", ", ".join(f"{name} {found}" for name, found in report["versions"].items())],
    ]
    return rows


def _shape(report: dict[str, Any], channels: str | None) -> str:
    """A shape, with letters where it is free."""
    settings = report["settings"]
    height, width = map(str, settings["size"])
    batch = str(settings["batch"])
    if settings["dynamic"]:
        multiple = settings["multiple"]
        batch, height, width = "B", f"{multiple}*h", f"{multiple}*w"
    parts = (batch, channels, height, width)
    return f"({', '.join(part for part in parts if part is not None)})"
