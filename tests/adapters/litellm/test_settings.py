"""Parameters in config.yaml, the guards they make, and the class that LiteLLM looks into."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from litellm.types.guardrails import LitellmParams

from guardrail import ConfigurationError
from guardrail.adapters.litellm import StreamGuardrail
from guardrail.adapters.litellm.guardrail import _HOOKS
from tests.adapters.litellm.gatekeepers import Inherited

GUARD = "tests.adapters.litellm.gatekeepers:truncates"


def build(mode: Any = "post_call", **given: Any) -> StreamGuardrail:
    """Build a guardrail as LiteLLM does: with the parameters of all its guardrails, most at their defaults."""
    params = LitellmParams(guardrail="x", mode=mode, default_on=True, **given).model_dump(exclude_none=True)
    for name in ("guardrail", "mode", "default_on", "stream_scope"):
        params.pop(name, None)
    return StreamGuardrail(guardrail_name="g", event_hook=mode, default_on=True, **params)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"polcy": "strict"}, "polcy: unknown"),
        ({"threads": "many"}, "threads: .*integer"),
        ({"policy": "nope"}, "no policy 'nope'"),
        ({"model": "no/such/folder"}, "neither a folder nor a hub id"),
        ({"precision": "int8"}, "precision: the embedded model"),
        ({"guard": "nope"}, "guard: no function at 'nope'"),
        ({"guard": "nope:make"}, "guard: no function at"),
        ({"guard": "os:getcwd"}, "guard: os:getcwd returned str"),
        ({"guard": GUARD, "threads": 1}, "threads: `guard` makes the guard by itself"),
        ({"block_on_violation": False}, "block_on_violation: unknown"),
        ({"records": "/proc/nowhere/records.jsonl"}, "cannot open the record file"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(given: dict[str, Any], told: str) -> None:
    """With its name, and what would be valid: nobody believes to be guarded who is not."""
    with pytest.raises(Exception, match=told):
        build(**given)


def test_an_unknown_parameter_names_the_valid_ones() -> None:
    """The error is a list of what there is."""
    with pytest.raises(ConfigurationError, match="model, policy, threads, precision, records, guard"):
        build(polcy="strict")


def test_a_mode_that_is_not_served_is_refused() -> None:
    """LiteLLM checks it against the list of the class."""
    with pytest.raises(ValueError, match="realtime_input_transcription"):
        build("realtime_input_transcription", guard=GUARD)


def test_guards_of_one_model_share_it(tmp_path: Path) -> None:
    """Two guardrails with the embedded model load it once; each has its policy."""
    one, other = build(policy="strict"), build(policy="loose", records=str(tmp_path / "records.jsonl"))
    assert one.guard.engine is other.guard.engine
    assert (one.guard.policy.name, other.guard.policy.name) == ("strict", "loose")


@pytest.mark.parametrize("hook", _HOOKS)
def test_a_subclass_has_every_hook_of_its_own(hook: str) -> None:
    """LiteLLM looks into the leaf class's `__dict__`, and takes a missing hook for a guardrail without it."""
    assert hook in vars(Inherited)
    assert hook in vars(type("Grandchild", (Inherited,), {}))


def test_an_overridden_hook_stays() -> None:
    """Only what is missing is filled in."""
    own = type("Own", (StreamGuardrail,), {"async_moderation_hook": test_an_overridden_hook_stays})
    assert vars(own)["async_moderation_hook"] is test_an_overridden_hook_stays


async def test_single_texts_are_judged() -> None:
    """`apply_guardrail` returns harmless texts, and raises HTTP 400 for a risky prompt or answer."""
    guardrail = build(guard=GUARD)
    assert await guardrail.apply_guardrail({"texts": ["hello"]}, {}, "request") == {"texts": ["hello"]}
    for kind in ("request", "response"):
        with pytest.raises(HTTPException) as caught:
            await guardrail.apply_guardrail({"texts": ["☠☠ text"]}, {}, kind)
        assert caught.value.status_code == 400
        assert "☠" not in str(caught.value.detail)


def test_a_missing_litellm_names_the_extra() -> None:
    """Without litellm the import says what to install."""
    code = (
        "import sys; sys.modules['litellm'] = None\n"
        "from guardrail import MissingExtra\n"
        "try:\n    import guardrail.adapters.litellm\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[litellm]" in done.stdout


@pytest.mark.slow
def test_the_sdk_needs_nothing_of_the_proxy() -> None:
    """Without fastapi the guarded calls load; only the proxy's class says what is missing."""
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from guardrail import MissingExtra\n"
        "from guardrail.adapters import litellm\n"
        "litellm.guarded_completion\n"
        "try:\n    litellm.StreamGuardrail\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guardrail-stream[litellm]" in done.stdout


def test_a_subclass_of_two_keeps_what_either_overrides() -> None:
    """A hook that was only bound again does not stand before one that was written."""

    class First(StreamGuardrail):
        """Overrides nothing."""

    class Second(StreamGuardrail):
        """Overrides a hook."""

        async def apply_guardrail(self, *args: Any, **kwargs: Any) -> Any:
            """Do something else."""

    class Both(First, Second):
        """Overrides nothing."""

    assert Both.__dict__["apply_guardrail"] is Second.__dict__["apply_guardrail"]
    assert set(_HOOKS) <= set(Both.__dict__)
