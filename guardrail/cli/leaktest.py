"""`guardrail leaktest`: does anything come out of my chain, agent or gateway that should have been withheld?"""

import importlib
import json as json_module
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import track

from guardrail.cli.exits import Exit
from guardrail.cli.options import Flag
from guardrail.errors import ConfigurationError
from guardrail.leaktest import (
    CANARIES,
    Canary,
    Drive,
    Report,
    Spy,
    Upstream,
    function_drives,
    is_plain,
)

PIPED_WIDTH = 120
"""Columns of the tables where there is no terminal to ask."""

UNGUARDED = "Everything came out: there is no guard, or it sees no risk in this canary; another --canary may tell."


def leaktest(
    target: str | None = None,
    /,
    *,
    url: str | None = None,
    model: str = "canary",
    key: Annotated[str, Parameter(env_var="OPENAI_API_KEY", show_default=False)] = "",
    listen: str = "127.0.0.1:8765",
    pace: float = 0.005,
    canary: str = "harm",
    marker: str | None = None,
    redacts: Flag = False,
    given: Annotated[str | None, Parameter(name="--input")] = None,
    json: Flag = False,
) -> int:
    """Stream an answer with a risky passage through your chain, agent or gateway, and list what lets it out.

    A scripted LLM answers a harmless question with a canary: clean text, a marker passage at which a guard must have
    stopped, and a tail. A spy listens at every outlet: results, streams, events, callbacks, traces, graph states,
    checkpoints, HTTP bytes, log records, exceptions. For each the table tells how many characters came out that should
    have been withheld, and how many tokens late the stop came; and for each call how many tokens the LLM still wrote.

    ```sh
    guardrail leaktest my_app:build     # def build(llm): return guard | llm | guard
    guardrail leaktest my_app:show      # def show(tokens): yield ...
    guardrail leaktest --url http://localhost:4000/v1 --model my-model
    ```

    With `--url` the command is the upstream too: configure the gateway to take its LLM from http://127.0.0.1:8765/v1
    (`--listen`), any key, any model name.

    Exits with 0 when nothing leaked, with 1 when something did, with 2 when the LLM was never asked.

    Args:
        target: `module:name`; a function that takes the scripted LLM (a LangChain chat model) and returns your chain,
            agent or graph with it; or a generator function that takes an iterator of text and yields text; or a
            Runnable that is put behind the LLM. Modules are looked for in this folder first.
        url: base URL of an OpenAI-compatible gateway to test instead.
        model: name of the model to ask the gateway for.
        key: the gateway's key.
        listen: host and port on which the canary is served to the gateway.
        pace: seconds between two tokens that the gateway gets; what it still takes after a stop is seen only at a pace.
        canary: harm (for safety models), pii (an e-mail address), word (a word that you tell your guard to block:
            murder), or a text file.
        marker: the passage in that file at which a guard must have stopped.
        redacts: the guard replaces the marker and goes on, so that what follows it may come out; pii has it set.
        given: JSON of your chain's input, where it is no plain text or list of messages.
        json: print one JSON object instead of tables.
    """
    chosen, spy = _canary(canary, marker, redacts), Spy()
    with _drives(target, url, chosen, spy, _Gateway(model, key, listen, pace), given) as drives:
        shown = track(drives, "leak test", console=Console(stderr=True), transient=True)
        runs = [drive.run() for drive in shown]
    report = Report.of(chosen, spy, runs)
    if not report.proves:
        errors = ", ".join(sorted({run.error for run in runs if run.error})) or "no errors"
        raise ConfigurationError(f"the LLM was never asked ({errors})", hint="nothing was learned about its guard")
    _print(report, as_json=json)
    return Exit.FAILED if report.leaks else Exit.OK


@dataclass(frozen=True)
class _Gateway:
    """How a gateway is asked, and served."""

    model: str
    key: str
    listen: str
    pace_s: float


def _canary(name: str, marker: str | None, redacts: bool) -> Canary:
    if name in CANARIES:
        if marker is not None:
            raise ConfigurationError("--marker belongs to a canary of your own", hint="--canary FILE")
        canary = CANARIES[name]
        return replace(canary, hides_rest=canary.hides_rest and not redacts)
    if marker is None:
        raise ConfigurationError(f"{name!r} is no ready canary", hint=f"{', '.join(CANARIES)}; a file needs --marker")
    text = Path(name).read_bytes().decode("utf-8", "replace")
    return Canary(Path(name).name, text, marker, hides_rest=not redacts)


@contextmanager
def _drives(
    target: str | None, url: str | None, canary: Canary, spy: Spy, gateway: _Gateway, given: str | None
) -> Iterator[list[Drive]]:
    if (target is None) == (url is None):
        raise ConfigurationError("give either a target (module:name) or --url")
    if url is None:
        yield _target_drives(_found(target or ""), canary, spy, _parsed(given))
        return
    from guardrail.leaktest.endpoint import endpoint_drives

    host, _, port = gateway.listen.rpartition(":")
    if not port.isdigit():
        raise ConfigurationError("--listen takes HOST:PORT")
    with Upstream(canary, host=host or "127.0.0.1", port=int(port), pace_s=gateway.pace_s) as upstream:
        print(f"guardrail: the canary is served at {upstream.url}", file=sys.stderr)
        yield endpoint_drives(url, upstream, canary, spy, model=gateway.model, key=gateway.key)


def _found(target: str) -> Any:
    """Import what a target names."""
    module_name, _, name = target.partition(":")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{target}: {error}", hint="a target is module:name") from error
    return found


def _parsed(given: str | None) -> Any:
    try:
        return None if given is None else json_module.loads(given)
    except ValueError as error:
        raise ConfigurationError("--input is no JSON") from error


def _target_drives(target: Any, canary: Canary, spy: Spy, given: Any) -> list[Drive]:
    if is_plain(target):
        return function_drives(target, canary, spy)
    from guardrail.adapters.langchain.spy import making, runnable_drives

    return runnable_drives(making(target), canary, spy, given=given)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(report.to_json()))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(report.outlets_table())
    console.print(report.runs_table())
    if report.is_unguarded:
        console.print(UNGUARDED)
