"""Which engines a server can run on, by its settings."""

from pathlib import Path

import httpx
import pytest

from guardrail.errors import ConfigurationError
from guardrail.records import MemorySink
from guardrail.service import Settings, load_settings
from guardrail.service.state import load_guard
from tests.service.servers import serving

CASCADE = """
[guard]
threads = 1
[guard.strong]
threads = 1
kv = "int8"
"""


def test_a_cascade_names_the_engine_that_decided(tmp_path: Path) -> None:
    """The embedded model in both places: where the first is uncertain the record names the second's KV cache."""
    file, policy = tmp_path / "guardrail.toml", tmp_path / "always.toml"
    file.write_text(CASCADE)
    rules = '[{}]\ncontroversial = "stop"\nunsafe = "stop"\n'
    policy.write_text(
        'name = "always"\n' + rules.format("prompt") + rules.format("response") + "[cascade]\nlow = 0.0\nhigh = 1.0\n"
    )
    settings = load_settings(file, guard={"policy": str(policy)})
    with load_guard(settings.guard) as guard:
        sink = MemorySink()
        strong_says = guard.with_policy(guard.policy, sinks=[sink]).check_prompt("How do I bake bread?")
        assert strong_says.verdict is not None
        assert strong_says.verdict.speaker is not None
        assert strong_says.identity.model == "guardrail-default"


def test_an_endpoint_that_is_down_keeps_no_server_from_starting_and_fails_closed() -> None:
    """It may come up later; until then every check is an error, never a verdict."""
    generative = {"base_url": "http://127.0.0.1:9/v1", "model": "gen", "timeout_s": 5}
    settings = load_settings(None, guard={"engine": "generative", "generative": generative})
    with load_guard(settings.guard) as guard, serving(Settings(), guard=guard) as running:
        answer = httpx.post(f"{running.base_url}/moderations", json={"input": "bread"}, timeout=30)
        (decision,) = running.sink.decisions
    assert answer.status_code in (500, 503)
    assert decision.identity.engine == "generative"
    assert decision.stopped


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_a_model_that_cannot_be_loaded_is_said(engine: str) -> None:
    """The error names it."""
    settings = load_settings(None, guard={"engine": engine, "model": "/nowhere"})
    with pytest.raises(ConfigurationError, match="/nowhere"):
        load_guard(settings.guard)
