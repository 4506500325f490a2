"""Labelled sets of pictures: their layouts on disk, their pixels, and what is wrong with them."""

from models.datasets.idc import PUBLISHED_FOLDER, TILE_MPP, TILE_PX
from models.datasets.items import Damage, Item, Pictures
from models.datasets.labelled import Labelled, Labels, require_trainable
from models.datasets.layouts import LAYOUTS, open_data
from models.datasets.stores import LabelledStore, decoded, shared_store
from models.datasets.tileset import TileSet, load_tiles

__all__ = [
    "LAYOUTS",
    "PUBLISHED_FOLDER",
    "TILE_MPP",
    "TILE_PX",
    "Damage",
    "Item",
    "Labelled",
    "LabelledStore",
    "Labels",
    "Pictures",
    "TileSet",
    "decoded",
    "load_tiles",
    "open_data",
    "require_trainable",
    "shared_store",
]
