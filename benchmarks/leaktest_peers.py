"""Runs `guardrail leaktest` against what people use today to guard streamed answers, and prints a Markdown table.

    python benchmarks/leaktest_peers.py            # everything, about ten minutes with the installations
    python benchmarks/leaktest_peers.py LiteLLM    # the rows whose name holds this text

Each peer gets an environment of its own under .venvs/peers-*, from the pins below; what cannot be installed is listed
with the reason. All peers are given the same rule (peers/rule.py): a word that must not come out. So the table compares
where and when a guard acts, not what it recognises.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).with_name("peers")
INSTALL_TIMEOUT_S = 400
START_TIMEOUT_S = 90
RUN_TIMEOUT_S = 180
PACE_S = "0.01"
"""Seconds between two tokens of the LLM behind a gateway: 100 tokens a second."""

PINS = {
    "langchain": ("-e .", "langchain==1.5.2", "langgraph==1.2.24", "langchain-openai==1.7.4"),
    "litellm": ("-e .", "litellm[proxy]==1.108.7", "httpx"),
    "nemo": ("nemoguardrails[server]==0.24.1", "langchain-openai==1.7.4"),
    "openai-guardrails": ("openai-guardrails==0.3.6",),
    "llm-guard": ("torch==2.13.0+cpu", "llm-guard==0.3.16", "openai==3.57.0"),
}
"""Environment -> what pip installs in it, `-e .` being this project."""


@dataclass(frozen=True)
class Peer:
    """One row.

    Attributes:
        name: what is tested.
        environment: key of `PINS`.
        target: of `guardrail leaktest`, for what runs inside LangChain.
        gateway: command of a gateway, for what speaks HTTP: CONFIG and PORT are filled in.
        config: configuration of the gateway; UPSTREAM and KEY are filled in.
        canary: which one.
    """

    name: str
    environment: str
    target: str = ""
    gateway: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    canary: str = "word"


def nemo(*, stream_first: bool) -> dict[str, Any]:
    """Return a NeMo configuration: a regex rail on the output, streamed."""
    llm = {"base_url": "UPSTREAM", "api_key": "none"}
    return {
        "models": [{"type": "main", "engine": "openai", "model": "canary", "parameters": llm}],
        "rails": {
            "config": {"regex_detection": {"output": {"patterns": ["murder"]}}},
            "output": {
                "flows": ["regex check output"],
                "streaming": {"enabled": True, "stream_first": stream_first},
            },
        },
    }


def litellm(guardrail: str, **parameters: Any) -> dict[str, Any]:
    """Return a LiteLLM configuration with one guardrail on every answer."""
    llm = {"model": "openai/canary", "api_base": "UPSTREAM", "api_key": "none"}
    return {
        "model_list": [{"model_name": "canary", "litellm_params": llm}],
        "guardrails": [
            {
                "guardrail_name": "peer",
                "litellm_params": {"guardrail": guardrail, "mode": "post_call", "default_on": True, **parameters},
            }
        ],
        "litellm_settings": {"num_retries": 0},
        "general_settings": {"master_key": "KEY"},
    }


NEMO = ("nemoguardrails", "server", "--config", "CONFIG/config", "--port", "PORT", "--default-config-id", "config")
LITELLM = ("litellm", "--config", "CONFIG/config/config.yaml", "--port", "PORT", "--host", "127.0.0.1")
FILTER = {"blocked_words": [{"keyword": "murder", "action": "BLOCK"}]}

ROWS = (
    Peer("LangChain agent, no guard", "langchain", "unguarded"),
    Peer("LangChain PIIMiddleware, redact", "langchain", "pii_redact", canary="pii"),
    Peer("LangChain PIIMiddleware, block", "langchain", "pii_block", canary="pii"),
    Peer("langchain-openai OpenAIModerationMiddleware", "langchain", "openai_moderation"),
    Peer("LangChain after_model hook", "langchain", "after_model"),
    Peer("LangChain wrap_model_call, check afterwards", "langchain", "wrap_model_call"),
    Peer("LCEL `llm \\| RunnableGenerator(gate)`", "langchain", "lcel_gate"),
    Peer("LiteLLM apply_guardrail, default streaming", "litellm", "", LITELLM, litellm("litellm_guards.Default")),
    Peer("LiteLLM apply_guardrail, whole answer buffered", "litellm", "", LITELLM, litellm("litellm_guards.Buffered")),
    Peer("LiteLLM apply_guardrail, buffered per scan", "litellm", "", LITELLM, litellm("litellm_guards.Held")),
    Peer("LiteLLM content filter", "litellm", "", LITELLM, litellm("litellm_content_filter", **FILTER)),
    Peer("NeMo Guardrails, stream_first (default)", "nemo", "", NEMO, nemo(stream_first=True)),
    Peer("NeMo Guardrails, stream_first off", "nemo", "", NEMO, nemo(stream_first=False)),
    Peer("openai-guardrails client", "openai-guardrails", "", ("python", "openai_guardrails_gateway.py")),
    Peer("LLM Guard, its streaming example", "llm-guard", "", ("python", "llm_guard_gateway.py")),
    Peer("**ours:** GuardedChatModel", "langchain", "ours_model"),
    Peer("**ours:** `guard \\| llm \\| guard`", "langchain", "ours_chain"),
    Peer("**ours:** GuardMiddleware", "langchain", "ours_middleware"),
    Peer("**ours:** GuardMiddleware, embedded model", "langchain", "ours_embedded", canary="harm"),
    Peer(
        "**ours:** LiteLLM StreamGuardrail, embedded model",
        "litellm",
        "",
        LITELLM,
        litellm("guardrail.adapters.litellm.StreamGuardrail"),
        canary="harm",
    ),
)


class Unusable(Exception):
    """A peer could not be installed or started; the message is the reason's first line."""


def main() -> None:
    """Install, run and print."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    rows = [row for row in ROWS if wanted.lower() in row.name.lower()]
    broken = {name: reason for name in {row.environment for row in rows} if (reason := install(name))}
    print(HEADER)
    details = []
    for row in rows:
        try:
            if row.environment in broken:
                raise Unusable(broken[row.environment])
            found = measure(row)
        except Unusable as reason:
            print(f"| {row.name} | not run: {reason} |" + " |" * 7, flush=True)
            continue
        print(as_row(row, found), flush=True)
        leaking = [outlet["name"] for outlet in found["outlets"] if outlet["leaked_chars"]]
        details.append(f"- {row.name}: {', '.join(leaking) or 'no outlet'}")
    print("\nOutlets that leak:\n\n" + "\n".join(details) + "\n\nVersions:\n")
    for name in sorted({row.environment for row in rows} - broken.keys()):
        print(f"- {name}: {versions(name)}")


HEADER = """\
| guard | canary | outlets that leak | tokens late, streamed | tokens late, whole answer | \
LLM tokens after the marker | tokens saved | first text at token | stream ended with |
|---|---|---|---|---|---|---|---|---|"""


def as_row(row: Peer, found: dict[str, Any]) -> str:
    """Return a line of the table."""
    outlets = {outlet["name"]: outlet for outlet in found["outlets"]}
    runs = {run["name"]: run for run in found["runs"]}
    streamed = next(outlets[name] for name in ("stream_mode=messages", "stream", "HTTP stream") if name in outlets)
    whole = next((outlets[name]["leaked_tokens"] for name in ("invoke", "HTTP answer") if name in outlets), "-")
    run = next(runs[name] for name in ("astream", "HTTP stream") if name in runs)
    n_leaking = sum(outlet["leaked_chars"] > 0 for outlet in found["outlets"])
    late = f"{streamed['leaked_tokens']} ({streamed['leaked_chars']} characters)"
    cells = (
        row.name,
        row.canary,
        f"{n_leaking} of {len(outlets)}",
        late,
        whole,
        run["tokens_after_marker"],
        run["saved_tokens"],
        "-" if run["first_text_at_token"] is None else run["first_text_at_token"],
        run["error"] or "-",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def binary(environment: str, name: str) -> str:
    """Return the path of a program of an environment."""
    return str(ROOT / ".venvs" / f"peers-{environment}" / "bin" / name)


def install(environment: str) -> str:
    """Make an environment unless it is there; return why that failed, or nothing."""
    ready = ROOT / ".venvs" / f"peers-{environment}" / ".ready"
    if ready.exists() and ready.read_text() == repr(PINS[environment]):
        return ""
    subprocess.run([sys.executable, "-m", "venv", ready.parent], check=True)
    for pin in PINS[environment]:
        command = [binary(environment, "python"), "-m", "pip", "install", "--quiet", "--prefer-binary", *pin.split()]
        try:
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
        except subprocess.SubprocessError as error:
            lines = [line for line in (getattr(error, "stderr", "") or "").splitlines() if "ERROR" in line]
            return lines[0] if lines else type(error).__name__
    ready.write_text(repr(PINS[environment]))
    return ""


def versions(environment: str) -> str:
    """Return the versions of what was pinned."""
    names = [pin.split("==")[0].split("[")[0] for pin in PINS[environment] if pin != "-e ."]
    code = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    command = [binary(environment, "python"), "-c", code, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(row: Peer) -> dict[str, Any]:
    """Run the leak test on one peer and return its JSON."""
    if row.target:
        command = [binary(row.environment, "python"), "-m", "guardrail.cli", "leaktest"]
        return leaktest([*command, f"langchain_targets:{row.target}", "--canary", row.canary], {})
    upstream, key = f"127.0.0.1:{free_port()}", f"sk-{secrets.token_hex(16)}"
    command = [sys.executable, "-m", "guardrail.cli", "leaktest", "--canary", row.canary, "--pace", PACE_S]
    with gateway(row, upstream, key) as url:
        command += ["--url", url, "--listen", upstream]
        leaktest(command, {"OPENAI_API_KEY": key})  # the first request of a process loads what later ones find loaded
        return leaktest(command, {"OPENAI_API_KEY": key})


def leaktest(command: list[str], variables: dict[str, str]) -> dict[str, Any]:
    """Run the command and return what it prints."""
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    command = [*command, "--json"]
    try:
        done = subprocess.run(
            command, cwd=PEERS, env=environment, capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"no end within {RUN_TIMEOUT_S} s") from error
    if done.returncode not in (0, 1):
        raise Unusable((done.stderr.strip().splitlines() or ["no output"])[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def gateway(row: Peer, upstream: str, key: str) -> Iterator[str]:
    """Run a peer's gateway and yield its base URL."""
    port, url = str(free_port()), f"http://{upstream}/v1"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config", "config.yaml")  # JSON is YAML
        file.parent.mkdir()
        file.write_text(json.dumps(row.config).replace("UPSTREAM", url).replace("KEY", key))
        words = [word.replace("CONFIG", folder).replace("PORT", port) for word in row.gateway]
        environment = {
            **os.environ,
            "UPSTREAM": url,
            "PORT": port,
            "OPENAI_API_KEY": "none",
            "PYTHONPATH": str(PEERS),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OMP_NUM_THREADS": "1",
        }
        log = Path(folder, "log")
        with log.open("w") as out:
            command = [binary(row.environment, words[0]), *words[1:]]
            process = subprocess.Popen(command, cwd=PEERS, env=environment, stdout=out, stderr=subprocess.STDOUT)
            try:
                await_start(f"http://127.0.0.1:{port}", process, log)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()
                process.wait(30)


def await_start(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until something answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.5)
        else:
            return
    raise Unusable((log.read_text().strip().splitlines() or ["it did not start"])[-1])


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
