"""No fault of a reader process reaches its parent."""

import errno
import logging
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import DecoderCrashed, DecoderTimeout, ServiceError
from service.sandbox import SandboxedSlide, SandboxLimits, open_in_sandbox
from service.sandbox.launcher import Launcher
from tests.service.hostile import SLOW_SPEECHES, SPEECHES
from tests.service.sandbox.readers import (
    AT_THE_TRAP,
    HERE,
    PATIENT,
    is_alive,
)
from wsi.errors import CorruptSlide, WsiError
from wsi.geometry import Box


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("abort", "SIGABRT"),
        ("violate-memory", "SIGSEGV"),
        ("leave", "exit code 3"),
        ("exhaust", "more than 4096 MiB of memory"),
        ("exhaust-wrapped", "more than 4096 MiB of memory"),
        ("stumble", "KeyError: 'no such tag'"),
    ],
)
def test_a_decoder_that_dies_is_an_error_now_and_from_then_on(
    hostile: Launcher, tiff: Path, deed: str, reason: str
):
    with pytest.raises(DecoderCrashed, match=reason):
        open_in_sandbox(tiff, reader=f"open-{deed}", launcher=hostile, limits=PATIENT)
    with open_in_sandbox(tiff, reader=deed, launcher=hostile, limits=PATIENT) as slide:
        assert (slide.read_level(0, HERE) == 9).all()
        with pytest.raises(DecoderCrashed, match=reason) as first:
            slide.read_level(0, AT_THE_TRAP)
        assert str(first.value).startswith(f"{tiff}: ")
        assert_it_stays_failed(slide, first.value)


@pytest.mark.parametrize("deed", ["hang", "spin"])
def test_a_decoder_that_does_not_answer_is_ended(hostile: Launcher, tiff: Path, deed: str):
    soon = SandboxLimits(open_timeout_s=0.2)
    with pytest.raises(DecoderTimeout, match=r"within 0.2 s and was ended"):
        open_in_sandbox(tiff, reader=f"open-{deed}", launcher=hostile, limits=soon)
    soon = SandboxLimits(open_timeout_s=100, read_timeout_s=0.2)
    with open_in_sandbox(tiff, reader=deed, launcher=hostile, limits=soon) as slide:
        with pytest.raises(DecoderTimeout, match=r"within 0.2 s and was ended") as first:
            slide.read_level(0, AT_THE_TRAP)
        assert_it_stays_failed(slide, first.value)


def assert_it_stays_failed(slide: SandboxedSlide, error: Exception) -> None:
    assert not is_alive(slide.reader_pid)
    with pytest.raises(type(error)) as again:
        slide.read_level(0, HERE)
    assert str(again.value) == str(error)
    assert type(slide.failure) is type(error)


def test_processor_time_is_limited(hostile: Launcher, tiff: Path):
    limits = SandboxLimits(cpu_s=1, read_timeout_s=100.0)
    with (
        open_in_sandbox(tiff, reader="spin", launcher=hostile, limits=limits) as slide,
        pytest.raises(DecoderCrashed, match="SIGXCPU"),
    ):
        slide.read_level(0, AT_THE_TRAP)


def test_an_error_in_the_process_is_one_short_line(hostile: Launcher, tiff: Path):
    with pytest.raises(CorruptSlide) as caught:
        open_in_sandbox(tiff, reader="open-refuse", launcher=hostile)
    assert str(caught.value).startswith(f"{tiff}: refused, by [31m long long")
    assert len(str(caught.value)) <= 2000
    assert str(caught.value).isprintable()


def test_when_one_read_kills_it_all_other_reads_end_too(hostile: Launcher, tiff: Path):
    with (
        open_in_sandbox(tiff, reader="hang", launcher=hostile, limits=PATIENT) as slide,
        ThreadPoolExecutor(8) as pool,
    ):
        hanging = [pool.submit(slide.read_level, 0, AT_THE_TRAP) for _ in range(8)]
        os.kill(slide.reader_pid, signal.SIGKILL)
        for read in hanging:
            with pytest.raises(DecoderCrashed, match="SIGKILL"):
                read.result(timeout=60)


def test_a_read_for_which_there_was_no_memory_does_not_spoil_the_next(
    tiff: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: int) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with open_in_sandbox(tiff) as slide:
        slide.read_level(0, HERE)
        with monkeypatch.context() as changed:
            changed.setattr("service.sandbox.process.create_memory", refuse)
            with pytest.raises(OSError, match="too many open files"):
                slide.read_level(0, Box(0, 0, 400, 300))
        assert slide.read_level(0, HERE).shape == (10, 10, 3)


@pytest.mark.parametrize("speech", [name for name in SPEECHES if name not in SLOW_SPEECHES])
def test_nonsense_instead_of_a_slide_is_a_crash(hostile: Launcher, tiff: Path, speech: str):
    with pytest.raises(DecoderCrashed, match="no valid answer"):
        open_in_sandbox(tiff, reader=speech, launcher=hostile, limits=PATIENT)


@pytest.mark.parametrize("speech", SLOW_SPEECHES)
def test_an_answer_without_an_end_is_waited_for_no_longer(
    hostile: Launcher, tiff: Path, speech: str
):
    soon = SandboxLimits(open_timeout_s=0.2)
    with pytest.raises(DecoderTimeout):
        open_in_sandbox(tiff, reader=speech, launcher=hostile, limits=soon)


@pytest.mark.parametrize(
    "answer",
    [
        "answer-other-id",
        "answer-text-id",
        "answer-larger",
        "answer-more-bytes",
        "answer-negative",
        "answer-extra",
        "answer-zeros",
        "answer-long",
        "answer-goodbye",
    ],
)
def test_nonsense_instead_of_pixels_is_a_crash(hostile: Launcher, tiff: Path, answer: str):
    with open_in_sandbox(tiff, reader=answer, launcher=hostile, limits=PATIENT) as slide:
        with pytest.raises(DecoderCrashed):
            slide.read_level(0, HERE)
        assert not is_alive(slide.reader_pid)


def test_the_process_cannot_take_the_shared_memory_away(hostile: Launcher, tiff: Path):
    """Its size is sealed; this child has no filter over its system calls."""
    with open_in_sandbox(tiff, reader="answer-shrunk", launcher=hostile) as slide:
        assert slide.read_level(0, HERE).shape == (10, 10, 3)


NAME = "Doe, John 1953-02-01"


@pytest.mark.parametrize(
    "deed", ["abort", "hang", "exhaust", "stumble-over", "refuse", "refuse-beside"]
)
def test_a_slide_that_has_a_name_to_show_is_called_by_it(
    hostile: Launcher, tiff: Path, deed: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    path = tiff.rename(tiff.with_name(f"{NAME}.tiff"))
    soon = SandboxLimits(open_timeout_s=0.2 if deed == "hang" else 100.0)
    with pytest.raises((WsiError, ServiceError)) as opening:
        open_in_sandbox(
            path, reader=f"open-{deed}", launcher=hostile, limits=soon, name="the slide"
        )
    soon = SandboxLimits(open_timeout_s=100, read_timeout_s=0.2 if deed == "hang" else 100.0)
    with open_in_sandbox(
        path, reader=deed, launcher=hostile, limits=soon, name="the slide"
    ) as slide:
        assert slide.info.path == "the slide"
        with pytest.raises((WsiError, ServiceError)) as reading:
            slide.read_level(0, AT_THE_TRAP)
    for error in (opening.value, reading.value):
        assert "the slide" in str(error)
        assert not re.search(f"Doe|John|1953|{re.escape(path.parent.name)}", str(error))
    assert not re.search("Doe|John|1953", caplog.text)
