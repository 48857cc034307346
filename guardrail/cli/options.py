"""Options that several commands share."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from guardrail.guard import Guard
from guardrail.policy import Policy
from guardrail.policy_file import load_policy
from guardrail.records import JsonlSink, Sink

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A switch that is off unless named."""

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
        threads: threads of the model; unset lets the runtime choose.
        records: file to which decisions are appended, one JSON line each.
        record_text: keep the judged text in these records.
    """

    model: str = EMBEDDED
    policy: str = "balanced"
    precision: Literal["int8", "fp32"] | None = None
    threads: int | None = None
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
        if self.model == EMBEDDED:
            return Guard.default(policy=policy, sinks=sinks, threads=self.threads)
        return Guard.load(self.model, policy=policy, sinks=sinks, precision=self.precision, threads=self.threads)
