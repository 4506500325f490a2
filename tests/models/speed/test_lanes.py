"""Batches side by side: the same answers in the same order, on as many threads as there were."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.network import TorchClassifier
from models.speed.forms import split_batch
from models.speed.lanes import MOST_LANES, Lanes, lane_count
from tests.models.small_models import ChannelNetwork, make_card, make_rgb

CPU = torch.device("cpu")


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes(3)
    yield lanes
    lanes.close()


class Watched(ChannelNetwork):
    """Notes which threads compute, and with how many of torch's threads each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, int] = {}
        self.together = threading.Barrier(2, timeout=30)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen[threading.get_ident()] = torch.get_num_threads()
        self.together.wait()  # else one thread might have done it all
        return super().forward(pixels)


def test_answers_come_in_the_order_of_the_parts(lanes: Lanes) -> None:
    first = threading.Event()

    def work(part: int) -> int:
        if part:
            first.set()
        else:
            first.wait(30)  # the first part is done after the second
        return part * 10

    assert lanes.map(work, range(4)) == [0, 10, 20, 30]


def test_an_error_of_one_part_is_the_callers(lanes: Lanes) -> None:
    with pytest.raises(ZeroDivisionError):
        lanes.map(lambda part: 1 // part, [1, 0, 1])


def test_two_lanes_compute_at_the_same_time_with_half_of_the_threads_each() -> None:
    torch.set_num_threads(2)
    network = Watched()
    rgb = make_rgb(16)

    prob = TorchClassifier(make_card(), network, "cpu", precision="float32").predict(rgb)

    plain = TorchClassifier(make_card(), ChannelNetwork(), "cpu", precision="float32", lanes=1)
    np.testing.assert_allclose(prob, plain.predict(rgb), rtol=0, atol=1e-6)
    assert list(network.seen.values()) == [1, 1]
    assert threading.get_ident() not in network.seen


def test_threads_that_come_later_get_as_many_of_torch_s_threads_as_before(lanes: Lanes) -> None:
    torch.set_num_threads(3)

    inside = lanes.map(lambda _: torch.get_num_threads(), range(3))

    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (inside, torch.get_num_threads(), later) == ([1, 1, 1], 3, [3])


@pytest.mark.parametrize(
    ("device", "form", "threads", "count"),
    [
        ("cpu", "plain", 2, 2),
        ("cpu", "filtered", 3, 3),
        ("cpu", "plain", 64, MOST_LANES),
        ("cpu", "openvino", 2, 1),
        ("cpu", "int8", 2, 1),
        ("cpu", "compiled", 2, 1),
        ("cuda", "plain", 2, 1),
    ],
)
def test_who_gets_lanes(device: str, form: str, threads: int, count: int) -> None:
    torch.set_num_threads(threads)

    assert lane_count(torch.device(device), form) == count


@pytest.mark.parametrize("form", ["plain", "compiled"])
@pytest.mark.parametrize("lanes", [1, 2, 5])
@pytest.mark.parametrize("most", [1, 8, 12, 128])
def test_every_tile_is_in_one_part_and_no_part_is_too_large(
    form: str, lanes: int, most: int
) -> None:
    for tiles in (*range(40), 127, 128, 129, 255, 256, 257, 1000):
        parts = split_batch(tiles, most, lanes, form, CPU)

        covered = [tile for part in parts for tile in range(tiles)[part.tiles]]
        assert covered == list(range(tiles))
        for part in parts:
            here = part.tiles.stop - part.tiles.start
            assert 0 < here <= part.count <= most
            assert part.count == most or form == "plain"


@pytest.mark.parametrize(
    ("tiles", "counts"),
    [(201, [104, 104]), (256, [128, 128]), (64, [32, 32]), (9, [8, 8]), (300, [80, 80, 80, 64])],
)
def test_tiles_are_dealt_evenly(tiles: int, counts: list[int]) -> None:
    parts = split_batch(tiles, 128, 2, "plain", CPU)

    assert [part.count for part in parts] == counts
