"""Options that several commands share."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from guardrail.engines.runtime import KVPrecision, Runtime
from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.policy_file import load_policy
from guardrail.records import JsonlSink, Sink

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A switch that is off unless named."""

Precision = Literal["int8", "fp32", "int4"]
"""Of the weights of an export."""

EMBEDDED = "default"
"""Name of the embedded model."""


@Parameter(name="*")
@dataclass(frozen=True)
class GuardOptions:
    """Which guard judges, and where its decisions go.

    Attributes:
        model: guard model: "default" (embedded), a hub id, a checkpoint folder or an exported folder.
        policy: ready policy (strict, balanced, loose, shadow) or a TOML file.
        precision: weights of a model that is loaded by id or folder; unset takes an export's own, int8 otherwise.
        threads: threads of the model; unset takes one for each physical core.
        kv: precision of the keys and values that are held; int8 needs `guardrail calibrate-kv`.
        context: most tokens that are read at once; unset takes the model's own limit.
        records: file to which decisions are appended, one JSON line each.
        record_text: keep the judged text in these records.
    """

    model: str = EMBEDDED
    policy: str = "balanced"
    precision: Precision | None = None
    threads: int | None = None
    kv: KVPrecision = "fp32"
    context: int | None = None
    records: Path | None = None
    record_text: Flag = False

    @contextmanager
    def opened(self, *sinks: Sink) -> Iterator[Guard]:
        """Load the guard, and close it with its records at the end.

        Raises:
            ConfigurationError: the model or the policy cannot be loaded.
            RecordError: the record file cannot be opened.
        """
        policy = load_policy(self.policy)
        with ExitStack() as stack:
            if self.records:
                sinks += (stack.enter_context(JsonlSink(self.records, include_text=self.record_text)),)
            yield stack.enter_context(self._load(policy, sinks))

    def _load(self, policy: Policy, sinks: tuple[Sink, ...]) -> Guard:
        runtime = Runtime(threads=self.threads, kv_precision=self.kv, max_context=self.context)
        if self.model == EMBEDDED:
            return Guard.default(policy=policy, sinks=sinks, runtime=runtime)
        return Guard.load(self.model, policy=policy, sinks=sinks, precision=self.precision, runtime=runtime)
