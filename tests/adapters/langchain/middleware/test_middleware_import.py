"""What the middleware needs to be there."""

import importlib
import sys

import pytest

from guardrail.errors import MissingExtra

MODULE = "guardrail.adapters.langchain.middleware"


def test_without_langchain_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has langchain-core only is told what to install."""
    monkeypatch.setitem(sys.modules, "langchain.agents", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(MissingExtra, match=r"guardrail-stream\[agents\]"):
        importlib.import_module(MODULE)
