"""The pictures that a recipe asks for, and whether a folder's are these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.datasets import TILE_PX, Damage, Item, Pictures, open_data
from models.datasets.idc import CLASSES, is_two_folders
from models.datasets.reading import read_sizes
from models.errors import DatasetError
from models.recipe import TrainConfig
from wsi.geometry import Size

__all__ = ["open_pictures"]

MPP_TOLERANCE = 0.1
"""Relative. Sets know their resolution about so well: that of IDC tiles is read off the slides'
objective power, those of BreakHis are rounded."""


def open_pictures(config: TrainConfig, data: Path) -> Pictures:
    """Names and tables are read, and headers where pictures are to be resized.

    Raises DatasetError where there are none, or where their classes, sides or resolution are not
    those of the recipe: the card would tell wrong ones.
    """
    pictures = _named_as(config, _open(config, data))
    if pictures.classes != config.classes:
        raise DatasetError(
            f"{data} has the classes {', '.join(pictures.classes)}, in this order, but recipe "
            f"{config.name} is for {', '.join(config.classes)}; name its data, or change the "
            "recipe's classes"
        )
    if pictures.is_idc and config.data.how == "tile" and config.tile_px != TILE_PX:
        raise DatasetError(
            f"recipe {config.name}: tile_px is {config.tile_px}, but the tiles in {data} are of "
            f"{TILE_PX} px; set tile_px to {TILE_PX}, and input_px to the side that the network "
            "shall see"
        )
    if config.data.how != "tiles":  # those are cut at the recipe's
        _require_mpp(config, pictures)
    return pictures


def _open(config: TrainConfig, data: Path) -> Pictures:
    asked = config.data
    is_idc = asked.split == "idc" and not is_two_folders(data)
    pictures = open_data(
        data,
        asked.layout or ("idc" if is_idc else None),
        magnification=asked.magnification or None,
        subtypes=asked.subtypes,
    )
    if asked.split == "idc" and not pictures.is_idc:
        raise DatasetError(
            f"recipe {config.name}: data.split is 'idc', a list of the patients of IDC, and {data} "
            f"is of the layout {pictures.layout}; use 'drawn', or a split file"
        )
    return pictures


def _named_as(config: TrainConfig, pictures: Pictures) -> Pictures:
    """Two folders are called cancer and not_cancer, and recipes name what the cancer is."""
    is_idc = pictures.is_idc and config.classes == CLASSES
    return replace(pictures, classes=CLASSES) if is_idc else pictures


def _require_mpp(config: TrainConfig, pictures: Pictures) -> None:
    """Raises DatasetError where a slide would be cut at another scale than the pictures have."""
    is_resized = config.data.how == "resize"
    sizes: list[Size | Damage | None] = list(read_sizes(pictures)) if is_resized else []
    for item, size in zip(pictures.items, sizes or [None] * len(pictures), strict=True):
        mpp = _mpp_of(item, size, config.tile_px)
        if mpp is not None and abs(config.mpp - mpp) > MPP_TOLERANCE * mpp:
            resized = f" when it is resized to {config.tile_px} px" if is_resized else ""
            raise DatasetError(
                f"recipe {config.name}: mpp is {config.mpp:g}, but {item.where} has {mpp:.3g} "
                f"um/px{resized}, and a slide is cut at what the recipe says; set mpp to "
                f"{mpp:.3g}, or data.how to 'tiles', which cuts pictures at the recipe's mpp"
            )


def _mpp_of(item: Item, size: Size | Damage | None, tile_px: int) -> float | None:
    """Of the tile that is made of a picture. A picture that is not square is squeezed: the square
    of the same area. None where nobody knows; damaged ones are told of when they are decoded."""
    if item.mpp is None or isinstance(size, Damage):
        return None
    return item.mpp if size is None else item.mpp * float(size.width * size.height) ** 0.5 / tile_px
