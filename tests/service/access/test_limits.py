"""Requests a minute."""

import pytest

from service.access.limits import RequestLimit
from service.errors import TooManyRequests


@pytest.mark.usefixtures("half_past")
def test_a_tenant_may_send_so_many() -> None:
    limit = RequestLimit(3)
    for _ in range(3):
        limit.count("a")
    with pytest.raises(TooManyRequests) as caught:
        limit.count("a")
    assert caught.value.retry_after_s == 30
    limit.count("b")


def test_without_a_limit_nobody_waits() -> None:
    for _ in range(1000):
        RequestLimit(None).count("a")
