import os
from collections.abc import Iterator

import pytest

from service.worker.channel import MAX_LINE_BYTES, Channel, ChannelClosed


@pytest.fixture
def ends() -> Iterator[tuple[Channel, int]]:
    """A channel that reads what is written to the descriptor, and echoes into nowhere."""
    read_fd, write_fd = os.pipe()
    channel = Channel(read_fd, os.open(os.devnull, os.O_WRONLY))
    yield channel, write_fd
    channel.close()


def test_messages_arrive_one_by_one_and_whole():
    read_fd, write_fd = os.pipe()
    channel = Channel(read_fd, write_fd)

    channel.send({"say": "one", "text": "two\nlines"})
    channel.send({"say": "two"})

    assert channel.receive(1) == {"say": "one", "text": "two\nlines"}
    assert channel.receive(1) == {"say": "two"}
    assert channel.receive(0) is None
    channel.close()


def test_half_a_line_is_kept_until_its_end_comes(ends: tuple[Channel, int]):
    channel, write_fd = ends
    os.write(write_fd, b'{"say": ')
    assert channel.receive(0) is None

    os.write(write_fd, b'"late"}\n')

    assert channel.receive(1) == {"say": "late"}


@pytest.mark.parametrize("line", [b"not JSON\n", b"[1, 2]\n"])
def test_what_is_no_message_closes_the_channel(ends: tuple[Channel, int], line: bytes):
    channel, write_fd = ends
    os.write(write_fd, line)

    with pytest.raises(ChannelClosed):
        channel.receive(1)


def test_end_of_the_other_side_closes_the_channel(ends: tuple[Channel, int]):
    channel, write_fd = ends
    os.close(write_fd)

    with pytest.raises(ChannelClosed, match="ended"):
        channel.receive(1)


def test_endless_line_is_not_gathered(ends: tuple[Channel, int]):
    channel, write_fd = ends
    for _ in range(2 * MAX_LINE_BYTES // 4096):
        os.write(write_fd, b"x" * 4096)
        assert channel.receive(0) is None
    os.write(write_fd, b"x")

    with pytest.raises(ChannelClosed, match="more than"):
        channel.receive(0)


def test_too_long_message_is_not_sent(ends: tuple[Channel, int]):
    with pytest.raises(ValueError, match="limit"):
        ends[0].send({"text": "x" * MAX_LINE_BYTES})


def test_waiting_ends_when_somebody_wakes_it(ends: tuple[Channel, int]):
    wake_fd, waker_fd = os.pipe()
    os.write(waker_fd, b"\0")

    assert ends[0].receive(60, wake_fd) is None

    os.close(wake_fd)
    os.close(waker_fd)
