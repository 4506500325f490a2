"""Places of which nobody has all."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from service.web.shares import Shares


class Holder:
    """Holds a place from `has` until `go`."""

    def __init__(self, shares: Shares, *keys: str) -> None:
        self.has, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._hold(shares, keys))

    async def _hold(self, shares: Shares, keys: tuple[str, ...]) -> None:
        async with shares.hold(*keys):
            self.has.set()
            await self.go.wait()

    async def end(self) -> None:
        self.go.set()
        await self.task


async def settle() -> None:
    """All that can go on without a further event has gone on."""
    for _ in range(50):
        await asyncio.sleep(0)


def holders(shares: Shares, *keys: tuple[str, ...]) -> list[Holder]:
    return [Holder(shares, *each) for each in keys]


async def who_has(*waiting: Holder) -> list[bool]:
    await settle()
    return [each.has.is_set() for each in waiting]


def test_a_key_that_asks_for_everything_leaves_the_rest_to_others() -> None:
    async def ask() -> None:
        shares = Shares(3, 2)
        greedy = holders(shares, *[("a",)] * 9)
        assert await who_has(*greedy) == [True, True] + [False] * 7
        other = Holder(shares, "b")
        assert await who_has(other) == [True]
        assert await who_has(Holder(shares, "c")) == [False]

    asyncio.run(ask())


def test_each_position_has_a_part_of_its_own() -> None:
    """Of 4 places a tenant has 3 and a slide 1: a tenant's second slide is looked at, too."""

    async def ask() -> None:
        shares = Shares(4, 3, 1)
        pairs = [("a", "s"), ("a", "s"), ("a", "t"), ("a", "u"), ("a", "v")]
        found = await who_has(*holders(shares, *pairs))
        assert found == [True, False, True, True, False]

    asyncio.run(ask())


def test_who_came_first_is_next_and_a_place_that_is_left_is_taken() -> None:
    async def ask() -> None:
        shares = Shares(1, 1)
        first, second, third = holders(shares, ("a",), ("b",), ("c",))
        assert await who_has(first, second, third) == [True, False, False]
        await first.end()
        assert await who_has(second, third) == [True, False]
        second.task.cancel()
        assert await who_has(third) == [True]

    asyncio.run(ask())


@pytest.mark.parametrize("messages", [[], [{"type": "http.request", "body": b""}]])
def test_a_client_that_has_gone_is_noticed_and_one_that_waits_is_not(messages: list[dict]) -> None:
    def request_with(*more: dict) -> Request:
        left = [*messages, *more]

        async def receive() -> dict:
            if not left:
                await asyncio.Event().wait()
            return left.pop(0)

        return Request({"type": "http", "headers": []}, receive)

    async def ask() -> None:
        shares, made = Shares(1, 1), []
        assert await shares.make(request_with(), lambda: 7, "ann") == 7
        gone = request_with({"type": "http.disconnect"})
        with pytest.raises(ClientDisconnect):
            await shares.make(gone, lambda: made.append(1), "ann")
        assert made == []

    asyncio.run(ask())
