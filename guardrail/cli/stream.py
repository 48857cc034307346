"""`guardrail stream`: a gate between two pipes."""

import sys
from collections.abc import Callable

from guardrail.actions import Action
from guardrail.cli.exits import exit_of
from guardrail.cli.options import Flag, GuardOptions
from guardrail.cli.show import describe, painted, plain_console
from guardrail.cli.source import pieces
from guardrail.policy import OnStop
from guardrail.records import Privacy, Record
from guardrail.stream import Stream

_DEFAULTS = GuardOptions()


def stream(
    *, prompt: str | None = None, json: Flag = False, explain: Flag = False, options: GuardOptions = _DEFAULTS
) -> int:
    """Pass an answer from stdin to stdout, as it comes, until its first risky token.

    What is written is a prefix of what was read. At a stop nothing more is read or written, and the exit code is 3. One
    line on stderr says why an answer was stopped or flagged.

    Args:
        prompt: the prompt that the answer answers.
        json: write the decision's record at the end instead of the text; with `--explain` every token's verdict too.
        explain: in a terminal, show each token in the colour of its risk; say why on stderr in any case.
        options: which guard, where records go.
    """
    with options.opened() as guard, guard.open_stream(prompt or "") as answer:
        release = _silent if json else _painter(answer) if explain and plain_console().is_terminal else _writer()
        for piece in pieces():
            release(answer.feed(piece))
            if answer.is_stopped:
                break
        release(answer.finish())
        decision = answer.decision
        if decision.stopped and guard.policy.on_stop is OnStop.REPLACE and not json:
            _writer()(guard.policy.stop_message(decision.category))
    if json:
        print(Record.of(decision, privacy=Privacy(positions=False, tokens=explain)).to_json())
    elif explain or decision.action is not Action.ALLOW:
        plain_console(stderr=True).print("guardrail:", describe(decision))
    return exit_of(decision)


def _silent(released: str) -> None:
    """Release nothing: the record is the output."""


def _writer() -> Callable[[str], None]:
    """Return a function that writes released text at once, byte for byte as UTF-8."""
    out = sys.stdout.buffer

    def write(released: str) -> None:
        if released:
            out.write(released.encode("utf-8", "replace"))
            out.flush()

    return write


def _painter(answer: Stream) -> Callable[[str], None]:
    """Return a function that writes released text in the colours of its tokens."""
    console = plain_console()

    def paint(released: str) -> None:
        if released:
            console.print(painted(released, answer.verdicts, answer.released_chars - len(released)), end="")
            console.file.flush()

    return paint
