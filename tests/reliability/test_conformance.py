"""R14: schemathesis on the OpenAPI document. No 5xx, no answer that it does not describe."""

from pathlib import Path

import pytest

from tests.reliability.report import SEED, report, size
from tests.service.api.conformance import check_operation, operations
from tests.service.api.harness import make_workshop
from tests.service.api.test_conformance import filled_server

pytestmark = [pytest.mark.slow, pytest.mark.reliability]


def test_every_answer_is_documented(tmp_path: Path) -> None:
    examples = size(50, 2000)
    sent, failures = 0, []
    with filled_server(make_workshop(tmp_path / "workshop"), tmp_path) as (url, ids):
        for path, method in operations():
            try:
                sent += check_operation(url, path, method, ids, examples=examples, seed=SEED)
            except BaseExceptionGroup as error:
                failures.append((path, method, error))
    report("R14", sent, len(failures), operations=len(operations()), examples=examples)
    assert failures == []
