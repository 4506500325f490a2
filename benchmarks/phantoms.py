"""Phantoms that several benchmarks share, drawn once into a folder."""

from pathlib import Path

__all__ = ["phantom"]


def phantom(folder: Path, size_px: int) -> Path:
    """The phantom of that side, drawn where it is not there yet (80,000 px: two minutes)."""
    path = folder / f"phantom-{size_px}.tiff"
    if not path.is_file():
        from wsi.phantom import draw_phantom

        folder.mkdir(parents=True, exist_ok=True)
        draw_phantom(path, size_px=size_px)
    return path
