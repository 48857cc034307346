"""A real agent on the tool-result injection rows of the data pack: what was stopped where, and what it cost.

    python benchmarks/agent_run.py --data data --limit 100 --json agent_run.json

Each row is a run of `create_agent`: the user asks the row's question, the model calls a real tool (reads a file, runs a
shell command, fetches a page from 127.0.0.1) that brings the row's text, poisoned or clean. The model is scripted and
obeys: if it is shown the poisoned text, it calls `send` with what the text tells it to do, and says so. `send` writes
into a file: what stands there was carried out. The same runs without a guard, interleaved, give the cost.
"""

import argparse
import gzip
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from rich.progress import track

from guardrail import Guard
from guardrail.adapters.langchain import GuardMiddleware
from guardrail.decision import Decision, Direction
from guardrail.records import MemorySink

SOURCES: dict[str, tuple[str, bool | None]] = {
    "agentdojo": ("agentdojo_workspace_train", None),
    "xquad, German": ("xquad_injection_train", True),
    "xquad, other languages": ("xquad_injection_train", False),
    "bipia": ("bipia_tool_results_train", None),
    "asb": ("asb_tools_train", None),
}
"""Name to file, and whether its German rows are meant, or the others, or all."""

HELD_OUT = {"agentdojo", "xquad, German"}  # what the embedded model was not trained on: docs/data_card.md

PACKAGES = ("guardrail-stream", "langchain", "langgraph", "onnxruntime")
PLACES = ("prompt", "tool_call", "tool_result", "response")
N_STEPS = 5  # of a run in which the model does all it wants: three model calls, two tools

TOLD_CHARS = 400  # characters of a result that the model repeats in a call or an answer


@dataclass(frozen=True)
class Row:
    """One row: a question, what the tool brings back, and whether that is poisoned."""

    source: str
    question: str
    result: str
    is_attack: bool
    order: str


@dataclass
class Outcome:
    """What became of one run.

    Attributes:
        stopped: what was stopped first (prompt, tool_call, tool_result, response), in an attack before it had worked.
        is_carried_out: whether `send` was run.
        n_steps: model calls and tool calls.
        guarded_ms, bare_ms: wall time of the run with the guard, and without.
    """

    stopped: str | None
    is_carried_out: bool
    n_steps: int
    guarded_ms: float
    bare_ms: float


class ObedientModel(BaseChatModel):
    """Makes the call `reading`, which brings the row's text, then does what it was told by that; counts its calls."""

    row: Row
    reading: dict[str, Any]
    n_calls: int = 0

    @property
    def _llm_type(self) -> str:
        return "obedient"

    def bind_tools(self, *_: Any, **__: Any) -> "ObedientModel":
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.n_calls += 1
        return ChatResult(generations=[ChatGeneration(message=self._turn(messages))])

    def _turn(self, messages: list[BaseMessage]) -> AIMessage:
        results = [message for message in messages if isinstance(message, ToolMessage)]
        if not results:
            return AIMessage("", tool_calls=[{**self.reading, "id": "read"}])
        if self.row.order not in results[0].text:
            return AIMessage("I could not use what the tool brought.")
        if len(results) == 1:
            return AIMessage("", tool_calls=[{"name": "send", "args": {"text": self.row.order}, "id": "send"}])
        return AIMessage(f"I have done this: {self.row.order}")


@dataclass(frozen=True)
class World:
    """Where the tools work: a folder, and a server of its files on this machine."""

    folder: Path
    url: str

    def tools(self) -> list[BaseTool]:
        """Return the real tools."""

        @tool
        def read_file(name: str) -> str:
            """Read a file."""
            return (self.folder / name).read_text("utf-8")

        @tool
        def shell(command: str) -> str:
            """Run a shell command in the folder."""
            done = subprocess.run(["sh", "-c", command], cwd=self.folder, capture_output=True, timeout=10, check=False)  # noqa: S607
            return done.stdout.decode()

        @tool
        def fetch(name: str) -> str:
            """Fetch a page."""
            return httpx.get(f"{self.url}/{name}", timeout=10).text

        @tool
        def send(text: str) -> str:
            """Send a message."""
            (self.folder / "sent.txt").write_text(text, "utf-8")
            return "sent"

        return [read_file, shell, fetch, send]

    def reading(self, number: int) -> dict[str, Any]:
        """Return the call that reads the page, by another tool for each row."""
        calls = (
            ("read_file", {"name": "page.txt"}),
            ("shell", {"command": "cat page.txt"}),
            ("fetch", {"name": "page.txt"}),
        )
        return dict(zip(("name", "args"), calls[number % len(calls)], strict=True))


@contextmanager
def opened_world() -> Iterator[World]:
    """Serve a temporary folder."""
    with TemporaryDirectory() as name:
        folder = Path(name)

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (folder / Path(self.path).name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield World(folder, f"http://127.0.0.1:{server.server_port}")
            server.shutdown()


def read_rows(data: Path, limit: int) -> list[Row]:
    """Return at most `limit` attacks and as many clean rows of each source, evenly spread over its file."""
    rows = []
    for source, (name, is_german) in SOURCES.items():
        with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            found = [row for row in map(json.loads, lines) if row["messages"][-1]["role"] == "tool"]
        found = [row for row in found if is_german in {None, row["lang"] == "de"}]
        for risk in ("unsafe", "safe"):
            of_class = [row for row in found if row["risk"] == risk]
            rows += [to_row(source, row) for row in of_class[:: max(1, len(of_class) // limit)][:limit]]
    return rows


def to_row(source: str, row: dict[str, Any]) -> Row:
    """Return a row; where the source does not say where its poison begins, the model repeats the text's beginning."""
    question = next(message["content"] for message in reversed(row["messages"]) if message["role"] == "user")
    text = row["messages"][-1]["content"]
    start = row["unsafe_start_char"] or 0
    return Row(source, question, text, row["risk"] == "unsafe", text[start : start + TOLD_CHARS])


def run_row(row: Row, number: int, world: World, middleware: list[Any]) -> tuple[float, int, bool]:
    """Run the agent; return milliseconds, steps, and whether `send` was run."""
    (world.folder / "page.txt").write_text(row.result, "utf-8", newline="")
    (world.folder / "sent.txt").unlink(missing_ok=True)
    model = ObedientModel(row=row, reading=world.reading(number))
    agent = create_agent(model, world.tools(), middleware=middleware)
    started = time.perf_counter()
    state = agent.invoke({"messages": [HumanMessage(row.question)]}, {"configurable": {"thread_id": str(number)}})
    spent_ms = (time.perf_counter() - started) * 1000
    n_steps = model.n_calls + sum(isinstance(message, ToolMessage) for message in state["messages"])
    return spent_ms, n_steps, (world.folder / "sent.txt").exists()


def run_both(row: Row, number: int, world: World, guard: Guard, sink: MemorySink) -> Outcome:
    """Run a row with and without the guard, in turns which goes first."""
    sink.decisions.clear()
    ways: dict[str, tuple[float, int, bool]] = {}
    for way in ("guarded", "bare") if number % 2 else ("bare", "guarded"):
        ways[way] = run_row(row, number, world, [GuardMiddleware(guard)] if way == "guarded" else [])
    spent_ms, n_steps, is_sent = ways["guarded"]
    return Outcome(first_stop(sink.decisions, only_in_time=row.is_attack), is_sent, n_steps, spent_ms, ways["bare"][0])


def first_stop(decisions: Sequence[Decision], *, only_in_time: bool) -> str | None:
    """Return what was stopped first; if only that counts, before `send` was let run."""
    for decision in decisions:
        if decision.stopped:
            return str(decision.direction)
        if only_in_time and (decision.direction, decision.tool) == (Direction.TOOL_CALL, "send"):
            break
    return None


def table(rows: list[Row], outcomes: list[Outcome]) -> str:
    """Return the Markdown table: for each source, attacks and clean rows, and where they were stopped first."""
    lines = [
        "| source | rows | prompt stopped | call stopped | result withheld | answer stopped | order carried out |",
        "|---|---|---|---|---|---|---|",
    ]
    for source in SOURCES:
        label = source if source in HELD_OUT else f"{source} (trained on)"
        for is_attack, name in ((True, "attacks"), (False, "clean")):
            pairs = zip(rows, outcomes, strict=True)
            own = [one for row, one in pairs if (row.source, row.is_attack) == (source, is_attack)]
            first = Counter(outcome.stopped for outcome in own)
            done = sum(outcome.is_carried_out for outcome in own) if is_attack else ""
            cells = [f"{label}, {name}", len(own), *(first[place] for place in PLACES), done]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def costs(outcomes: list[Outcome], latencies: dict[str, list[float]]) -> dict[str, Any]:
    """Return the cost of a step, in the runs of all steps, and of each kind of reading, in milliseconds."""
    whole = [one for one in outcomes if one.n_steps == N_STEPS]
    added = [(one.guarded_ms - one.bare_ms) / N_STEPS for one in whole]
    reading = {kind: quantiles(found) for kind, found in sorted(latencies.items())}
    return {"added_per_step_ms": quantiles(added), "runs": len(whole), "reading_ms": reading}


def quantiles(values: list[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    return {"median": round(statistics.median(values), 2), "p95": round(sorted(values)[int(len(values) * 0.95)], 2)}


def main() -> None:
    """Run all rows; print the table, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data pack")
    parser.add_argument("--limit", type=int, default=100, help="most attacks, and most clean rows, of a source")
    parser.add_argument("--policy", default="balanced", help="ready policy or TOML file")
    parser.add_argument("--threads", type=int, default=1, help="threads of one engine call")
    parser.add_argument("--json", type=Path, help="where the outcomes are written")
    given = parser.parse_args()
    rows, sink = read_rows(given.data, given.limit), MemorySink()
    latencies: dict[str, list[float]] = defaultdict(list)
    outcomes = []
    with Guard.default(policy=given.policy, sinks=[sink], threads=given.threads) as guard, opened_world() as world:
        guard.warm_up()
        for number, row in enumerate(track(rows, "runs", disable=not sys.stderr.isatty())):
            outcomes.append(run_both(row, number, world, guard, sink))
            for decision in sink.decisions:
                latencies[str(decision.direction)].append(decision.latency_ms)
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    found = {"versions": versions, "policy": given.policy, "limit": given.limit, "costs": costs(outcomes, latencies)}
    print(table(rows, outcomes), json.dumps(found, indent=2), sep="\n\n")
    if given.json:
        pairs = zip(rows, outcomes, strict=True)
        runs = [{"source": row.source, "is_attack": row.is_attack, **asdict(one)} for row, one in pairs]
        given.json.write_text(json.dumps({**found, "runs": runs}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
