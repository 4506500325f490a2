"""Room on the disk for a result, promised before its first byte."""

import math

from models.card import ModelCard
from models.scorer import channels_of
from service.request import HeatmapRequest
from service.settings import MIB
from wsi.slide import SlideInfo

__all__ = ["result_bytes"]

BASE_BYTES = 16 * MIB
"""Pictures and records, whatever the slide's size."""

TEXT_BYTES = 600
"""Of a cell in the tables and the GeoJSON, before it is compressed."""

COPIES = 6
"""Of a cell's numbers, 4 bytes a class and channel: scores, OME-Zarr, OME-TIFF (each of the two
with a pyramid of a third more), HDF5, and a store that is being rewritten."""


def result_bytes(info: SlideInfo, request: HeatmapRequest, card: ModelCard) -> int:
    """More than a result takes, as if there were tissue everywhere. Without a resolution the job
    ends before it writes."""
    if info.mpp is None:
        return BASE_BYTES
    cell_um = (request.stride_px or card.tile_px) * card.mpp
    columns = math.ceil(info.size.width * info.mpp[0] / cell_um)
    rows = math.ceil(info.size.height * info.mpp[1] / cell_um)
    channels = len(channels_of(card, tta=request.tta)) + (card.context is not None)
    planes = len(card.classes) + channels
    return BASE_BYTES + columns * rows * (TEXT_BYTES + COPIES * 4 * planes)
