"""How a worker says what confines its readers."""

import logging

import pytest

from service.sandbox.wire import SandboxMode
from service.settings import Settings
from service.worker import opener


def test_a_missing_lock_is_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a system that has none of Linux's."""
    bare = SandboxMode(landlock=False, seccomp=False, netns=False, rlimits=True)
    monkeypatch.setattr(opener, "probe_sandbox", lambda: bare)
    with caplog.at_level(logging.WARNING):
        facts = opener.check_sandbox(Settings())
    assert facts["landlock"] is False
    assert "not confined by landlock, seccomp, netns" in caplog.text


def test_a_sandbox_that_is_off_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert opener.check_sandbox(Settings(sandbox="off")) == {"wanted": "off"}
    assert "WSI_SANDBOX=off" in caplog.text
