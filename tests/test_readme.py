"""README and examples are run, each in a fresh interpreter and an empty folder, with no network but this machine."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.cli.main import build

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def _connect_here(self: socket.socket, address: object) -> None:
    if not isinstance(address, tuple) or address[0] != "127.0.0.1":
        raise OSError("examples run without network")
    _connect(self, address)
socket.socket.connect = _connect_here
"""


def documents() -> list[Path]:
    """Pages whose code is promised to run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in documents()
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1)
    if "# not run" not in block
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
RUN_ELSEWHERE = {"custom_engine.py", "export.py", "fastapi_app.py", "replay.py"}
"""By tests/test_examples.py, which looks at what they print."""


def run(code: str, folder: Path) -> str:
    """Run code as a program of its own; return what it printed, or fail with its traceback."""
    command = [sys.executable, "-W", "error", "-c", NO_NETWORK + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS)
def test_documented_code_runs(block: str, tmp_path: Path) -> None:
    """A block of documentation does what it shows; one that cannot run here says `# not run` and why."""
    run(block, tmp_path)


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.name not in RUN_ELSEWHERE], ids=lambda path: path.name)
def test_examples_run_and_print(path: Path, tmp_path: Path) -> None:
    """Every example runs with the embedded model and shows something."""
    assert run(path.read_text("utf-8"), tmp_path).strip()


def test_examples_show_a_stop(tmp_path: Path) -> None:
    """What a guard is for happens in them: the embedded model stops the abusive answer, where it turns abusive."""
    chain, stream = (
        run((ROOT / "examples" / name).read_text("utf-8"), tmp_path) for name in ("chain.py", "async_stream.py")
    )
    assert re.search(r"a fucking idiot and a stupid( b)? \[stopped: Unethical Acts\]", chain)
    assert re.search(r"stupid( b)?\n  stop, [1-9]\d* characters withheld", stream)
    assert "bitch" not in chain + stream


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    """An example is read before it is run: under 60 lines."""
    assert len(path.read_text("utf-8").splitlines()) < 60


def shell_commands(name: str) -> list[list[str]]:
    """Every command `name ...` that pages show in shell blocks and recipes in their first lines, cut at pipes."""
    pages = [*documents(), ROOT / "CONTRIBUTING.md"]
    blocks = [block.replace("\\\n", " ") for page in pages for block in SHELL.findall(page.read_text("utf-8"))]
    lines = [line for block in blocks for line in block.splitlines()]
    for path in (ROOT / "examples").glob("*/*.toml"):
        lines += re.findall(r"Run: (.*)", path.read_text("utf-8"))
    found = []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>&;")
        lexer.whitespace_split = True
        words = list(lexer)
        for start in (i for i, word in enumerate(words) if word == name and (not i or words[i - 1] in {"|", "&&"})):
            end = next((i for i in range(start, len(words)) if set(words[i]) <= set("|<>&;")), len(words))
            found.append(words[start + 1 : end])
    return found


@pytest.mark.parametrize("arguments", shell_commands("guardrail"), ids=" ".join)
def test_documented_commands_exist(arguments: list[str]) -> None:
    """The command line takes every command and option that pages show; none of them is run here."""
    build().parse_args(arguments, exit_on_error=False, print_error=False)


def test_documented_make_targets_exist() -> None:
    """What the README and CONTRIBUTING tell to make can be made."""
    pages = (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", "\n".join(p.read_text("utf-8") for p in pages), re.MULTILINE))
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= made


def test_the_readme_shows_running_code() -> None:
    """The README's promise of tested examples is not empty."""
    assert BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
