"""What is no guard is refused where it is given, not at the first message."""

from typing import Any

import pytest

from guardrail import ConfigurationError, Guard
from guardrail.adapters.langchain import GuardMiddleware, GuardRunnable


@pytest.mark.parametrize("made", [GuardRunnable, GuardMiddleware])
def test_what_is_no_guard_is_refused_at_once(guard: Guard, made: Any) -> None:
    """A policy's name, and a guard that is wrapped already."""
    with pytest.raises(ConfigurationError, match=r"a guard is needed, not str \(such as Guard\.default\(\)\)"):
        made("strict")
    with pytest.raises(ConfigurationError, match="a guard is needed, not GuardRunnable"):
        made(GuardRunnable(guard))
