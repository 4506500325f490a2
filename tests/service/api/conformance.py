"""Schemathesis on the OpenAPI document, with ids of things that exist among those that do not."""

import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["DOCUMENT", "check_operation", "operations"]

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"

TIMEOUT_S = 30


def operations() -> list[tuple[str, str]]:
    """Path and method of all in the document."""
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    return [(path, method) for path, methods in paths.items() for method in methods]


@cache
def load() -> Any:
    import schemathesis

    return schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text(encoding="utf-8")))


def check_operation(
    url: str, path: str, method: str, ids: dict[str, Any], *, examples: int, seed: int
) -> int:
    """Sends valid and invalid requests, and returns how many. An answer that the document does not
    describe fails."""
    import hypothesis
    from hypothesis import strategies as st

    wanted, sent = checks_of_answers(), 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases_of(load()[path][method]), exists=st.booleans())
    def check(case: Any, exists: bool) -> None:
        nonlocal sent
        if exists and method != "delete":
            put_ids(case, ids)
        answer = case.call(base_url=url, timeout=TIMEOUT_S)
        case.validate_response(answer, checks=wanted)
        sent += 1

    check()
    return sent


def cases_of(operation: Any) -> Any:
    """A strategy: two requests of three are valid."""
    import schemathesis
    from hypothesis import strategies as st

    modes = schemathesis.GenerationMode
    drawn = (modes.POSITIVE, modes.POSITIVE, modes.NEGATIVE)
    return st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in drawn))


def checks_of_answers() -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    return [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]


def put_ids(case: Any, ids: dict[str, Any]) -> None:
    """Names what exists, in the path and in the body."""
    for name in case.path_parameters or {}:
        if name in ids:
            case.path_parameters[name] = ids[name]
    if isinstance(case.body, dict) and "slide_id" in case.body:
        case.body["slide_id"] = ids["slide_id"]
    if isinstance(case.body, dict) and isinstance(case.body.get("slides"), list):
        case.body["slides"] = [ids["slide_id"]]
