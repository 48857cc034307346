"""One scripted answer through the streaming guards of peers and ours, under one rule, in one process; prints a table.

    python benchmarks/peers.py         # with some of the peers installed; the others are named and skipped
    python benchmarks/peers.py NeMo    # the rows whose name holds this text

A scripted LLM writes sentences of made-up words, one word a piece, and a forbidden word at one of ten places. Every
guard gets the same rule, "this word must not come out" (peers/rule.py), through its own way of taking a rule, and its
own defaults where the row names nothing else. So the table compares when a guard acts and how often it reads, not what
it recognises. What is judged is counted on the same answer without the word; ours counts the tokens that its engine is
given. Then the rule raises at every call: how much of the harmless answer comes out all the same? Some peers cannot be
installed together: run it once in each environment, as docs/comparison.md shows.
"""

import argparse
import asyncio
import logging
import os
import platform
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).with_name("peers")))
from rule import WORD

N_WORDS, N_A_SENTENCE = 400, 10
"""Words of the answer, and of a sentence."""

PLACES = range(105, N_WORDS, 31)
"""Where the forbidden word stands, counted from 0: at each place of a sentence once, and all over the answer."""

OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OTEL_SDK_DISABLED": "true", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
"""What keeps peers from calling out: a price list, usage figures, traces."""


def made_up(number: int) -> str:
    """Return a word of six letters that stands nowhere else in the answer."""
    pairs = (divmod(number // 50**place % 50, 5) for place in (2, 1, 0))
    return "".join("bcdfghklmn"[consonant] + "aeiou"[vowel] for consonant, vowel in pairs)


def answer(place: int | None = None) -> list[str]:
    """Return the pieces that the LLM streams, with the forbidden word at a place."""
    words = [made_up(number) for number in range(N_WORDS)]
    if place is not None:
        words[place] = WORD
    for first in range(0, N_WORDS, N_A_SENTENCE):
        words[first] = words[first].capitalize()
        words[first + N_A_SENTENCE - 1] += "."
    return [f"{word} " for word in words]


class Llm:
    """The scripted LLM; it says how far it has written.

    Attributes:
        pieces: the whole answer.
        n_written: pieces that it was asked for so far.
    """

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces
        self.n_written = 0

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces:
            self.n_written += 1
            yield piece

    async def stream(self) -> AsyncIterator[str]:
        """Write, and let others run between two pieces."""
        for piece in self:
            await asyncio.sleep(0)
            yield piece


class Rule:
    """The rule, and how often it was asked.

    Attributes:
        fails: whether it raises instead of judging, as a model does whose server is gone.
        n_calls: times that a text was judged.
        n_read: characters in them, or tokens for ours.
        n_all: characters, or tokens, of the whole answer.
    """

    def __init__(self, n_all: int, *, fails: bool = False) -> None:
        self.fails = fails
        self.n_calls = 0
        self.n_read = 0
        self.n_all = n_all

    def forbids(self, text: str) -> bool:
        """Whether the word stands there."""
        if self.fails:
            raise ConnectionError("the judge is gone")
        self.n_calls += 1
        self.n_read += len(text)
        return WORD in text.lower()


Drive = Callable[[Llm, Rule], AsyncIterator[str]]
"""Yields what a reader of the guarded stream is shown."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        package: on PyPI; the row is skipped where it is not installed.
        drive: `module:function`, in benchmarks/peers.
    """

    name: str
    package: str
    drive: str

    def opened(self) -> Drive:
        """Import the drive, and with it the peer."""
        module, function = self.drive.split(":")
        found: Drive = getattr(import_module(module), function)
        return found


ROWS = (
    Row("NeMo Guardrails, shown first (default)", "nemoguardrails", "nemo_stream:shown_first"),
    Row("NeMo Guardrails, held", "nemoguardrails", "nemo_stream:held"),
    Row("Guardrails AI, validator, `exception` (default)", "guardrails-ai", "guardrails_ai_stream:exception"),
    Row("Guardrails AI, validator, `fix`", "guardrails-ai", "guardrails_ai_stream:fix"),
    Row("Guardrails AI, validator, `noop`", "guardrails-ai", "guardrails_ai_stream:noop"),
    Row("LangChain PIIMiddleware, own detector, `messages`", "langchain", "langchain_stream:pii_messages"),
    Row("LangChain PIIMiddleware, own detector, events v3", "langchain", "langchain_stream:pii_events"),
    Row("LangChain OpenAIModerationMiddleware", "langchain-openai", "langchain_stream:moderation"),
    Row("LiteLLM, every 5th chunk (default)", "litellm", "litellm_stream:default"),
    Row("LiteLLM, buffered per scan, every chunk", "litellm", "litellm_stream:held"),
    Row("OpenAI Agents SDK, output guardrail", "openai-agents", "openai_agents_stream:output_guardrail"),
    Row("**ours:** `open_stream`", "guardrail-stream", "ours_stream:word_by_word"),
)


@dataclass
class Seen:
    """What came out of one stream.

    Attributes:
        text: all that was shown.
        n_first: words that were written when the first text came; None if none came.
        end: type of the exception that ended it, or nothing.
    """

    text: str = ""
    n_first: int | None = None
    end: str = ""


async def watch(drive: Drive, llm: Llm, rule: Rule) -> Seen:
    """Read a guarded stream to its end."""
    seen = Seen()
    try:
        async with aclosing(drive(llm, rule)) as shown:  # type: ignore[type-var]
            async for piece in shown:
                if piece and seen.n_first is None:
                    seen.n_first = llm.n_written
                seen.text += piece
    except Exception as stop:  # noqa: BLE001 - a stop of the library, of whatever type
        seen.end = type(stop).__name__
    return seen


def n_shown(text: str, pieces: list[str]) -> int:
    """Count the characters of pieces whose word came out; a word is as long with a full stop cut off or not."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return sum(len(piece) for piece in pieces if piece.strip(" .").lower() in words)


def measure(drive: Drive) -> str:
    """Stream the answers and return the cells of a row.

    Raises:
        RuntimeError: the harmless answer did not come out whole, so that the drive is wrong.
    """
    late, before, behind, ends = [], [], [], set()
    for place in PLACES:
        llm, _, seen = streamed(drive, answer(place))
        late.append(n_shown(seen.text, llm.pieces[place:]))
        before.append(n_shown(seen.text, llm.pieces[:place]) / n_chars(llm.pieces[:place]))
        behind.append(llm.n_written - place - 1)
        ends.add(seen.end)
    harmless, rule, whole = streamed(drive, answer())
    if n_shown(whole.text, harmless.pieces) != n_chars(harmless.pieces):
        raise RuntimeError(f"the harmless answer did not come out whole {whole.end}")
    failed, _, left = streamed(drive, answer(), fails=True)
    cells = (
        f"{mean(late):.0f} ({max(late)})",
        f"{mean(before):.0%}",
        f"{mean(behind):.0f}",
        whole.n_first,
        rule.n_calls,
        f"{rule.n_read / rule.n_all:.1f}",
        f"{n_shown(left.text, failed.pieces) / n_chars(failed.pieces):.0%}",
        ", ".join(sorted(ends - {""})) or "-",
    )
    return " | ".join(map(str, cells))


def streamed(drive: Drive, pieces: list[str], *, fails: bool = False) -> tuple[Llm, Rule, Seen]:
    """Run one stream."""
    llm, rule = Llm(pieces), Rule(n_chars(pieces), fails=fails)
    return llm, rule, asyncio.run(watch(drive, llm, rule))


def n_chars(pieces: list[str]) -> int:
    """Return the length of a text in pieces."""
    return sum(map(len, pieces))


def installed(package: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


HEADER = """\
| guard | version | characters shown from the word on, mean (worst) | text before it shown \
| words the LLM wrote behind it | first text at word | judged, times | each character read, times \
| shown when the judge fails | stream ended with |
|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measure what is installed and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", default="", help="part of a row's name")
    wanted = parser.parse_args().name.lower()
    logging.disable(logging.CRITICAL)
    os.environ.update(OFFLINE)
    print(HEADER)
    skipped = []
    for row in (row for row in ROWS if wanted in row.name.lower()):
        if (found := installed(row.package)) is None:
            skipped.append(row.name)
            continue
        try:
            print(f"| {row.name} | {row.package} {found} | {measure(row.opened())} |", flush=True)
        except ImportError as missing:
            skipped.append(f"{row.name} ({missing})")
    print(f"\nPython {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in skipped:
        print(f"skipped, not installed: {name}")


if __name__ == "__main__":
    main()
