"""What was measured, all together, and as JSON."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from guardrail.bench.chunks import Chunks
from guardrail.bench.decode import Decode
from guardrail.bench.gate import GateCost
from guardrail.bench.machine import Machine
from guardrail.bench.memory import Memory
from guardrail.bench.prefill import Prefill
from guardrail.bench.prefix import PrefixResult
from guardrail.bench.reread import Reread
from guardrail.bench.streams import ManyStreams


@dataclass(frozen=True, slots=True)
class Model:
    """Which model was measured, and how it ran.

    Attributes:
        name: for people.
        sha256: of what the engine runs.
        engine: engine name.
        precision: of the weights.
        kv_precision: of the keys and values.
        max_context: most tokens of a session.
        threads: of one call.
    """

    name: str
    sha256: str
    engine: str
    precision: str
    kv_precision: str
    max_context: int
    threads: int


@dataclass(frozen=True, slots=True)
class Report:
    """One run; what was not asked for is None.

    Attributes:
        date: ISO 8601, UTC.
        model: that was measured.
        machine: it ran on.
        why_no_torch: why nothing is compared with torch; empty if something is, or was not asked for.
        memory: memory and files.
        gate: what a delta costs without the model.
        decode: single tokens.
        chunks: several tokens a call, and following an LLM.
        prefill: whole prompts.
        reread: against reading the answer again for every token.
        streams: many streams at once.
        prefix: an agent's loop with and without reuse.
    """

    date: str
    model: Model
    machine: Machine
    why_no_torch: str = ""
    memory: Memory | None = None
    gate: GateCost | None = None
    decode: Decode | None = None
    chunks: Chunks | None = None
    prefill: Prefill | None = None
    reread: Reread | None = None
    streams: ManyStreams | None = None
    prefix: PrefixResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values; streams by their number, such as `streams_16`."""
        found = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if self.chunks:
            found["catch_up"] = found["chunks"].pop("catch_up")
        if self.streams:
            streams = found.pop("streams")
            found |= {f"streams_{one['n_streams']}": one for one in streams["at"]}
            found["stall"] = streams["stall"]
        return found
