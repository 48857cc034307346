"""Whatever the API's own description allows, and much that it does not, is asked: nothing of it is a server error."""

from typing import Any

import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.service.servers import Serving

PROXY = "/v1/(chat/completions|completions|responses)$"
"""Without an upstream these answer 503 by design."""


def test_no_request_that_the_description_allows_or_forbids_is_a_server_error(served: Serving) -> None:
    """Answers are 2xx or 4xx, for every operation, with valid bodies and broken ones."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json").exclude(path_regex=PROXY)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]  # all are
    assert len(operations) >= 8
    for operation in operations:
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])

        @given(case=cases)
        @settings(max_examples=15)
        def ask(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500, f"{case.method} {case.path}: {answer.text}"

        ask()
