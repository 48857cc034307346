"""Options that several commands share."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cyclopts import Parameter

from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.policy_file import load_policy
from guardrail.records import Privacy, Sink, TextForm, open_sink
from guardrail.reuse import KEPT_BYTES

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A switch that is off unless named."""

Precision = Literal["int8", "fp32", "int4"]
"""Of the weights of an export."""

_RUNTIME = Runtime()

EMBEDDED = "default"
"""Name of the embedded model."""


@Parameter(name="*")
@dataclass(frozen=True)
class GuardOptions:
    """Which guard judges, and where its decisions go.

    Attributes:
        model: guard model: "default" (embedded), a hub id, a checkpoint folder or an exported folder; with
            `--endpoint`, its name there.
        endpoint: base URL of an OpenAI-compatible server that runs a Qwen3Guard-Gen model; its key is read from
            GUARDRAIL_ENDPOINT_KEY.
        policy: ready policy (strict, balanced, loose, shadow) or a TOML file.
        precision: weights of a model that is loaded by id or folder; unset takes an export's own, int8 otherwise.
        threads: threads of the model; unset takes one for each physical core.
        kv: precision of the keys and values that are held; int8 needs `guardrail calibrate-kv`.
        context: most tokens that are read at once; unset takes the model's own limit.
        records: where decisions are recorded: a file of JSON lines, a SQLite file (.db), or a database's URL.
        record_text: what these records keep of the judged text: nothing, the text with its risky spans hidden, or all.
    """

    model: str = EMBEDDED
    endpoint: str | None = None
    policy: str = "balanced"
    precision: Precision | None = None
    threads: int | None = None
    kv: KVPrecision = "fp32"
    context: int | None = None
    records: str | None = None
    record_text: Literal["none", "redacted", "full"] = "none"

    @contextmanager
    def opened(self, *sinks: Sink, runtime: Runtime = _RUNTIME, kept_bytes: int = KEPT_BYTES) -> Iterator[Guard]:
        """Load the guard, and close it with its records at the end.

        Args:
            sinks: where decisions are recorded, besides `records`.
            runtime: of the engine, but for what the options say.
            kept_bytes: memory for what was read and may be needed again.

        Raises:
            ConfigurationError: the model or the policy cannot be loaded.
            RecordError: what `records` names cannot be opened.
        """
        policy = load_policy(self.policy)
        runtime = replace(runtime, threads=self.threads, kv_precision=self.kv, max_context=self.context)
        with ExitStack() as stack:
            if self.records:
                privacy = Privacy(text=TextForm(self.record_text))
                sinks += (stack.enter_context(open_sink(self.records, privacy=privacy)),)
            yield stack.enter_context(self._load(policy, sinks, runtime, kept_bytes))

    def _load(self, policy: Policy, sinks: tuple[Sink, ...], runtime: Runtime, kept_bytes: int) -> Guard:
        if self.endpoint is not None:
            if self.model == EMBEDDED:
                raise ConfigurationError("an endpoint needs the name of its model", hint="give --model too")
            key = os.environ.get("GUARDRAIL_ENDPOINT_KEY", "")
            return Guard.generative(self.endpoint, model=self.model, api_key=key, policy=policy, sinks=sinks)
        if self.model == EMBEDDED:
            return Guard.default(policy=policy, sinks=sinks, runtime=runtime, kept_bytes=kept_bytes)
        return Guard.load(
            self.model, policy=policy, sinks=sinks, precision=self.precision, runtime=runtime, kept_bytes=kept_bytes
        )
