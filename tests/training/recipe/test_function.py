"""Functions as models: what they may return, how they fail, and that their file runs once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guardrail.errors import CallRefused, ConfigurationError, EngineError
from guardrail.training.recipe.calls import Call, Text
from guardrail.training.recipe.function import Function
from guardrail.training.recipe.settings import ModelSettings

CODE = '''
import json
import sys
from dataclasses import dataclass

from guardrail.errors import CallRefused
from guardrail.training.recipe.calls import Text


@dataclass
class Twice:
    """Needs its module to be known while it runs."""

    text: str


def text(call):
    return call.prompt * 2

def thought(call):
    return Text(call.prompt, thinking="hm")

async def awaited(call):
    return Twice(call.prompt).text

def several(call):
    return [f"{call.prompt}{i}" for i in range(call.n)]

def mixed(call):
    return (Text("a"), "b")

def number(call):
    return 3

def numbers(call):
    return [1]

def none(call):
    return None

def raises(call):
    raise KeyError(call.prompt)

def raises_below(call):
    json.loads(call.prompt)

async def awaits(call):
    raises(call)

def takes_nothing():
    return "x"

def exits(call):
    sys.exit(0)

async def exits_awaited(call):
    sys.exit(3)

def stops(call):
    return next(iter([]))

def refuses(call):
    raise CallRefused("never")

a_value = 3
'''


def at(statement: str) -> str:
    """Where a statement stands."""
    return f"at f.py:{CODE[: CODE.index(statement)].count(chr(10)) + 1}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe's folder with a file of functions, beside one that cannot run."""
    (tmp_path / "f.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("import sys\nimport surely_there_is_no_such_module")
    (tmp_path / "unread.py").write_text("\n\ndef x(call:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "counts.py").write_text(
        "import builtins\nbuiltins.n_runs = getattr(builtins, 'n_runs', 0) + 1\ndef x(call): return 'x'"
    )
    return tmp_path


def function(folder: Path, name: str) -> Function:
    return Function(ModelSettings("function", function=name), folder)


def call(n: int = 1) -> Call:
    return Call("m", "completion", prompt="ab", n=n)


@pytest.mark.parametrize(
    ("name", "n", "texts"),
    [
        ("text", 1, (Text("abab"),)),
        ("thought", 1, (Text("ab", "hm"),)),
        ("awaited", 1, (Text("ab"),)),
        ("several", 1, (Text("ab0"),)),
        ("several", 2, (Text("ab0"), Text("ab1"))),
        ("mixed", 2, (Text("a"), Text("b"))),
    ],
)
async def test_a_function_answers(folder: Path, name: str, n: int, texts: tuple[Text, ...]) -> None:
    """With a text, one with thinking, or a list of them; awaited where it is async."""
    reply = await function(folder, f"f.py:{name}").ask(call(n), b"")
    assert reply.texts == texts
    assert (reply.n_input, reply.n_output) == (0, 0)


@pytest.mark.parametrize(
    ("name", "n", "match"),
    [
        ("number", 1, "f.py:number returned int"),
        ("none", 1, "f.py:none returned NoneType"),
        ("numbers", 1, "f.py:numbers returned list"),
        ("text", 2, "f.py:text returned 1 texts, not 2"),
        ("mixed", 1, "f.py:mixed returned 2 texts, not 1"),
        ("raises", 1, f"^function f.py:raises failed: KeyError {at('raise KeyError')}$"),
        ("raises_below", 1, f"^function f.py:raises_below failed: JSONDecodeError {at('json.loads')}$"),
        ("awaits", 1, f"^function f.py:awaits failed: KeyError {at('raise KeyError')}$"),
        ("takes_nothing", 1, r"^function f.py:takes_nothing failed: TypeError$"),
        ("exits", 1, f"^function f.py:exits failed: SystemExit {at('sys.exit(0)')}$"),
        ("exits_awaited", 1, f"^function f.py:exits_awaited failed: SystemExit {at('sys.exit(3)')}$"),
        ("stops", 1, f"^function f.py:stops failed: StopIteration {at('return next')}$"),
    ],
)
async def test_what_is_no_answer_is_a_failure_of_the_function(folder: Path, name: str, n: int, match: str) -> None:
    """It is named, with the last line of its file and without what it was given."""
    with pytest.raises(EngineError, match=match):
        await asyncio.wait_for(function(folder, f"f.py:{name}").ask(call(n), b""), 10)


async def test_an_error_of_the_function_is_the_cause(folder: Path) -> None:
    """So that its author sees the line."""
    with pytest.raises(EngineError) as raised:
        await function(folder, "f.py:raises").ask(call(), b"")
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_function_may_refuse_a_call(folder: Path) -> None:
    """As a server may: the row is left out."""
    with pytest.raises(CallRefused, match="never"):
        await function(folder, "f.py:refuses").ask(call(), b"")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("f.py:gone", "f.py has no function gone"),
        ("f.py:a_value", "f.py has no function a_value"),
        ("broken.py:x", r"^cannot run broken.py: ModuleNotFoundError at broken.py:2$"),
        ("unread.py:x", r"^cannot run unread.py: SyntaxError at unread.py:3$"),
        ("leaves.py:x", r"^cannot run leaves.py: SystemExit at leaves.py:1$"),
        ("gone.py:x", "no gone.py beside the recipe"),
    ],
)
def test_a_file_without_the_function_is_refused(folder: Path, name: str, match: str) -> None:
    """At once, and named."""
    with pytest.raises(ConfigurationError, match=match):
        function(folder, name)


def test_a_file_runs_once(folder: Path) -> None:
    """However many functions of it are models, and however often they are opened; again once it has changed."""
    import builtins

    for _ in range(3):
        function(folder, "counts.py:x")
    assert vars(builtins).pop("n_runs") == 1
    with (folder / "counts.py").open("a") as file:
        file.write("\n# changed\n")
    function(folder, "counts.py:x")
    assert vars(builtins).pop("n_runs") == 1


def test_a_file_that_several_threads_open_is_whole_for_each(tmp_path: Path) -> None:
    """None of them sees it before it has run to its end."""
    (tmp_path / "slow.py").write_text(
        "import time\n\ntime.sleep(0.2)\n\n\ndef answer(call):\n    return 'x'\n", "utf-8"
    )
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: function(tmp_path, "slow.py:answer"), range(4)))) == 4
