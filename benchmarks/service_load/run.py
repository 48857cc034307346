"""Streams held at once, how late their pieces come, how much is shown before a stop, and what it costs: ours and peers.

    make .venvs/load/.ready
    python benchmarks/service_load/run.py                       # every side, about 25 minutes
    python benchmarks/service_load/run.py ours --users 16 64    # one side

An LLM's server streams 50 tokens a second (llm.py). Locust's users (locustfile.py) hold a stream each, through one of
the sides, and compare when a piece was sent with when it came: the difference is what the side adds. All sides are
asked in turn in one run, on one machine, with the same guard model: peers ask it through our `/v1/moderations`.
"""

import argparse
import csv
import importlib.metadata
import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from guardrail.bench.machine import cores, cpu_name

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOCUST = ROOT / ".venvs/load/bin/locust"
TOKENS_PER_SECOND = 50
KEY = f"sk-{secrets.token_hex(32)}"

LITELLM = """
model_list:
  - model_name: llm
    litellm_params: {{model: openai/llm, api_base: {llm}/v1, api_key: none}}
guardrails:
  - guardrail_name: rescan
    litellm_params:
      {{guardrail: openai_moderation, mode: [pre_call, post_call], api_base: {guard}/v1, api_key: any}}
  - guardrail_name: ours
    litellm_params:
      guardrail: generic_guardrail_api
      mode: [pre_call, post_call]
      api_base: {guard}
      streaming_sampling_rate: 1
      streaming_transform_mode: incremental_diff
      additional_provider_specific_params: {{holds: true}}
litellm_settings: {{num_retries: 0}}
"""

NEMO = """
models:
  - {{type: main, engine: openai, model: llm, parameters: {{base_url: {llm}/v1, api_key: none}}}}
rails:
  output:
    flows: [moderate output]
    streaming: {{enabled: true, stream_first: {stream_first}}}
"""
NEMO_SERVER = ROOT / ".venvs/peers-nemo/bin/nemoguardrails"
"""Made by benchmarks/leaktest_peers.py NeMo; without it NeMo's sides are left out."""


@dataclass(frozen=True)
class Side:
    """One way from the LLM to its reader.

    Attributes:
        name: in the table.
        program: key of the server that is asked: llm, guard, litellm or nemo.
        body: JSON that is added to each request.
    """

    name: str
    program: str
    body: str = "{}"


SIDES = {
    "none": Side("no guard", "llm"),
    "ours": Side("guardrail serve, proxy", "guard"),
    "litellm": Side("LiteLLM openai_moderation, every 5 chunks", "litellm", '{"guardrails": ["rescan"]}'),
    "nemo": Side("NeMo Guardrails, 200 tokens, shown first", "nemo", '{"guardrails": {"config_id": "first"}}'),
    "nemo-held": Side("NeMo Guardrails, 200 tokens, held", "nemo", '{"guardrails": {"config_id": "held"}}'),
    "litellm-ours": Side("LiteLLM with our generic route, held", "litellm", '{"guardrails": ["ours"]}'),
}


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        side: which way.
        kind: clean or risky answers.
        users: streams at once.
        n_streams: that ended.
        n_errors: of them with an error.
        delays_ms: p50, p95 and p99 of how late a piece came.
        shown: mean characters that came.
        written: mean pieces that the LLM wrote.
        judged: tokens of the texts that were judged, for each piece that the LLM wrote: what a scanner reads.
        read: tokens of them that the guard model was given; it keeps what it has read.
        cpu_s: processor time of all servers but the LLM's for 1,000 pieces.
    """

    side: str
    kind: str
    users: int
    n_streams: int
    n_errors: int
    delays_ms: tuple[float, float, float]
    shown: float
    written: float
    judged: float
    read: float
    cpu_s: float


@dataclass
class Servers:
    """What runs: url and process by name."""

    urls: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"]

    def tokens(self) -> tuple[float, float]:
        """Tokens of all texts that were judged, and those that the guard model was given."""
        lines = httpx.get(f"{self.urls['guard']}/metrics").text.splitlines()
        judged = sum(float(line.split()[-1]) for line in lines if line.startswith("guardrail_tokens_total{"))
        return judged, sum(float(line.split()[-1]) for line in lines if line.startswith("guardrail_engine_tokens "))

    def cpu_s(self) -> float:
        """Processor time of all servers but the LLM's, seconds."""
        ticks = 0
        for name in set(self.processes) - {"llm"}:
            fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, path: str, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server until the block ends."""
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{port}{path}")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} did not start")
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def servers(sides: list[Side], folder: Path) -> Iterator[Servers]:
    """Run what the sides need."""
    ports = {name: free_port() for name in ("llm", "guard", "litellm", "nemo")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(llm=urls["llm"], guard=urls["guard"]))
    for name, first in (("first", "true"), ("held", "false")):
        rails = Path(shutil.copytree(HERE / "nemo", folder / "nemo" / name))
        (rails / "config.yml").write_text(NEMO.format(llm=urls["llm"], stream_first=first))
    bin_folder = Path(sys.executable).parent
    address = ["--host", "127.0.0.1", "--port"]
    commands = {
        "llm": [sys.executable, str(HERE / "llm.py"), str(ports["llm"]), str(TOKENS_PER_SECOND)],
        "guard": [
            *(str(bin_folder / "guardrail"), "serve", *address, str(ports["guard"])),
            *("--upstream", f"{urls['llm']}/v1"),
        ],
        "litellm": [str(bin_folder / "litellm"), "--config", str(config), *address, str(ports["litellm"])],
    }  # fmt: skip
    commands["nemo"] = [
        *(str(NEMO_SERVER), "server", "--config", str(folder / "nemo"), "--port", str(ports["nemo"])),
        *("--default-config-id", "first"),
    ]
    env = {
        "GUARD_URL": urls["guard"],
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": KEY,
    }
    env |= {"GUARDRAIL_ROUTES__MODERATION": "balanced"}
    needed = {"llm", "guard", *(side.program for side in sides)}
    paths = {"llm": "/", "guard": "/readyz", "litellm": "/health/liveliness", "nemo": "/"}
    with ExitStack() as stack:
        made = {
            name: stack.enter_context(running(commands[name], ports[name], paths[name], env)) for name in sorted(needed)
        }
        yield Servers(urls, made)


def measure(side: Side, kind: str, users: int, seconds: int, up: Servers, folder: Path) -> Measured:
    """Let users read for a while."""
    host = f"{up.urls[side.program]}/v1"
    env = {"LLM_URL": up.urls["llm"], "KIND": kind, "MODEL": "llm", "KEY": KEY, "BODY": side.body}
    (n_judged, n_read), cpu_s = up.tokens(), up.cpu_s()
    command = [str(LOCUST), "-f", str(HERE / "locustfile.py"), "--headless", "--host", host, "-u", str(users)]
    command += [
        "-r",
        str(users),
        "-t",
        f"{seconds}s",
        "--stop-timeout",
        "60",
        "--csv",
        str(folder / "out"),
        "--only-summary",
    ]
    subprocess.run(
        command, env={**os.environ, **env}, cwd=HERE, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows = {row["Type"]: row for row in csv.DictReader((folder / "out_stats.csv").open())}
    if "upstream" not in rows:  # no stream came to its end in time
        return Measured(side.name, kind, users, 0, 0, (math.nan,) * 3, *[math.nan] * 5)
    delay = rows.get("delay", {"50%": "nan", "95%": "nan", "99%": "nan"})  # nothing came at all
    written = float(rows["upstream"]["Average Response Time"])
    n_pieces = written * int(rows["upstream"]["Request Count"])
    return Measured(
        side.name, kind, users, int(rows["stream"]["Request Count"]), int(rows["stream"]["Failure Count"]),
        (float(delay["50%"]), float(delay["95%"]), float(delay["99%"])),
        float(rows["shown"]["Average Response Time"]), written,
        (up.tokens()[0] - n_judged) / n_pieces, (up.tokens()[1] - n_read) / n_pieces,
        (up.cpu_s() - cpu_s) / n_pieces * 1000,
    )  # fmt: skip


def table(rows: list[Measured]) -> Table:
    """Return the rows for a terminal."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("guardrail-stream", "onnxruntime", "litellm", "uvicorn")
    )
    title = f"{cpu_name()}, {cores()} cores; {versions}"
    made = Table("side", "answer", "streams", "ended", "errors", "delay ms p50", "p95", "p99", "chars shown",
                 "LLM wrote", "tokens judged a piece", "read", "CPU s / 1,000 pieces", title=title)  # fmt: skip
    for row in rows:
        delays = (f"{delay:.0f}" for delay in row.delays_ms)
        made.add_row(row.side, row.kind, str(row.users), str(row.n_streams), str(row.n_errors), *delays,
                     f"{row.shown:.0f}", f"{row.written:.0f}", f"{row.judged:.1f}",
                     f"{row.read:.1f}", f"{row.cpu_s:.2f}")  # fmt: skip
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="*", default=list(SIDES), choices=[*SIDES, []])
    parser.add_argument("--users", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--kinds", nargs="+", default=["clean", "risky"], choices=["clean", "risky"])
    asked = parser.parse_args()
    sides = [SIDES[name] for name in asked.sides]
    if not NEMO_SERVER.exists():
        sides = [side for side in sides if side.program != "nemo"]
        print(f"{NEMO_SERVER} is missing: NeMo's sides are left out", file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as name, servers(sides, Path(name)) as up:
        for kind in asked.kinds:
            for users in asked.users if kind == "clean" else asked.users[:2]:
                for side in sides:
                    rows.append(measure(side, kind, users, asked.seconds, up, Path(name)))
                    print(rows[-1], file=sys.stderr, flush=True)
    console = Console()
    console.width = max(console.width, 200)
    console.print(table(rows))


if __name__ == "__main__":
    main()
