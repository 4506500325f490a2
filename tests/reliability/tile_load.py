"""Many connections that ask one server for the same addresses again and again: a process apart.

    python -m tests.reliability.tile_load PORT CONNECTIONS SECONDS < expected.json

expected: address to the sha256 of its bytes. Prints JSON: requests, seconds, errors, wrong bytes,
p50_ms, p99_ms. Loopback only.
"""

import asyncio
import hashlib
import json
import random
import sys
import time
from typing import cast

import uvloop

__all__ = ["Client", "main"]

HEAD = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, expected: dict[str, str], fields: str, seed: int, until: float) -> None:
        addresses = [*expected]
        random.Random(seed).shuffle(addresses)
        self._sent = [(HEAD.format(each, fields).encode(), expected[each]) for each in addresses]
        self._number, self._until = 0, until
        self._buffer, self._needed = bytearray(), 0
        self._known: dict[bytes, str] = {}
        self.latencies_s: list[float] = []
        self.errors: list[str] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has another base
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._buffer[:end]).lower()
            length = self._head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._needed = end + 4 + int(length or 0)
            self._body_at = end + 4
        if len(self._buffer) >= self._needed:
            self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.errors.append(f"cut: {exc}")
            self.done.set_result(None)

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(self._sent[self._number % len(self._sent)][0])

    def _take(self) -> None:
        now = time.perf_counter()
        self.latencies_s.append(now - self._asked_at)
        self._judge(bytes(self._buffer[self._body_at :]))
        self._buffer.clear()
        self._needed = 0
        self._number += 1
        if now < self._until:
            self._ask()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _judge(self, body: bytes) -> None:
        """Every byte is compared; equal bodies are hashed once."""
        expected = self._sent[self._number % len(self._sent)][1]
        if body not in self._known:
            self._known[body] = hashlib.sha256(body).hexdigest()
        if not self._head.startswith(b"http/1.1 200"):
            self.errors.append(self._head[:40].decode("latin-1"))
        elif self._known[body] != expected:
            self.errors.append("other bytes")


async def press(
    port: int, connections: int, seconds: float, expected: dict[str, str], fields: str = ""
) -> dict[str, object]:
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    clients = [Client(expected, fields, n, began + seconds) for n in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)
    await asyncio.gather(*(client.done for client in clients))
    took_s = time.perf_counter() - began
    latencies = sorted(each for client in clients for each in client.latencies_s)
    errors = [each for client in clients for each in client.errors]
    return {
        "requests": len(latencies),
        "per_s": round(len(latencies) / took_s),
        "p50_ms": round(1000 * latencies[len(latencies) // 2], 1),
        "p99_ms": round(1000 * latencies[len(latencies) * 99 // 100], 1),
        "errors": len(errors),
        "first_errors": errors[:3],
    }


def main() -> None:
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    given = json.load(sys.stdin)
    found = uvloop.run(press(port, connections, seconds, given["expected"], given["fields"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
