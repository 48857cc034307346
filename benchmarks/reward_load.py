"""How many completions a second a reward server judges, and how long a trainer waits for one.

    python benchmarks/reward_load.py data/gptfuzz_responses.jsonl.gz --clients 1 8 32 --completions 200

A server of its own process (`guardrail reward serve`, the reward `guard_only`) is asked by N clients at once, each of
which sends its next completion when it has its last answer, as OpenRLHF's workers do; with --per-request, many in one
request, as TRL does. Answers and prompts are those of a labelled file, cut to --chars.
"""

import argparse
import asyncio
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np

from guardrail.bench.machine import cores, cpu_name
from guardrail.training.corpus import read_objects


def main() -> None:
    """Print a line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--completions", type=int, default=200, help="of each number of clients")
    parser.add_argument("--per-request", type=int, default=1)
    parser.add_argument("--chars", type=int, default=600)
    parser.add_argument("--port", type=int, default=8199)
    parser.add_argument("--config", type=Path, help="of the server; without, its defaults")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("guardrail-stream", "onnxruntime", "uvicorn"))
    print(f"{cpu_name()}, {cores()} cores, Python {platform.python_version()}, {versions}")
    bodies = requests(arguments.file, arguments.completions, arguments.per_request, arguments.chars)
    with server(arguments.port, arguments.config) as url:
        asyncio.run(ask(url, bodies[:1], 1))  # the first fills caches
        print("| clients | completions | completions/s | p50 ms | p99 ms | mean batch |")
        print("|---|---|---|---|---|---|")
        for n_clients in arguments.clients:
            n_before, sum_before = batches(url)
            started = time.perf_counter()
            times = asyncio.run(ask(url, bodies, n_clients))
            spent_s = time.perf_counter() - started
            n_after, sum_after = batches(url)
            rate = len(bodies) * arguments.per_request / spent_s
            p50, p99 = np.percentile(times, [50, 99]) * 1e3
            mean = (sum_after - sum_before) / (n_after - n_before)
            n = len(bodies) * arguments.per_request
            print(f"| {n_clients} | {n} | {rate:.1f} | {p50:.0f} | {p99:.0f} | {mean:.1f} |", flush=True)


def requests(file: Path, n: int, per_request: int, chars: int) -> list[dict[str, object]]:
    """Return the bodies of requests with n completions in all."""
    rows = (row for row in read_objects(file) if row["target"] == "response" and len(row["messages"]) > 1)
    taken = [
        {"prompt": row["messages"][-2]["content"][:chars], "text": row["messages"][-1]["content"][:chars]}
        for row, _ in zip(rows, range(n), strict=False)
    ]
    return [{"completions": taken[i : i + per_request]} for i in range(0, len(taken), per_request)]


async def ask(url: str, bodies: list[dict[str, object]], n_clients: int) -> list[float]:
    """Send all bodies through that many clients; return the seconds that each answer took."""
    waiting = iter(bodies)
    times: list[float] = []

    async def client(http: httpx.AsyncClient) -> None:
        for body in waiting:
            started = time.perf_counter()
            (await http.post(f"{url}/reward", json=body)).raise_for_status()
            times.append(time.perf_counter() - started)

    limits = httpx.Limits(max_connections=n_clients)
    async with httpx.AsyncClient(timeout=600, limits=limits) as http:
        await asyncio.gather(*(client(http) for _ in range(n_clients)))
    return times


def batches(url: str) -> tuple[float, float]:
    """Return how many batches the server has judged, and how many completions."""
    lines = dict(line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if line[0] != "#")
    return tuple(float(lines[f"guardrail_reward_batch_size_{name}"]) for name in ("count", "sum"))  # type: ignore[return-value]  # two names


@contextmanager
def server(port: int, config: Path | None) -> Iterator[str]:
    """Run the command until the block ends."""
    command = [sys.executable, "-m", "guardrail.cli", "reward", "serve", *([str(config)] if config else [])]
    running = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                if running.poll() is not None:
                    raise SystemExit("the server did not start") from None
                time.sleep(0.1)
        yield url
    finally:
        running.terminate()
        running.wait(60)


if __name__ == "__main__":
    main()
