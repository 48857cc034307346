"""`guardrail check`: judge one whole text."""

from pathlib import Path

from guardrail.cli.exits import exit_of
from guardrail.cli.options import Flag, GuardOptions
from guardrail.cli.show import describe, painted, plain_console, probabilities
from guardrail.cli.source import read_text
from guardrail.decision import Decision, Direction
from guardrail.records import Privacy, Record

_DEFAULTS = GuardOptions()


def check(
    text: str | None = None,
    /,
    *,
    file: Path | None = None,
    response: Flag = False,
    prompt: str | None = None,
    json: Flag = False,
    explain: Flag = False,
    options: GuardOptions = _DEFAULTS,
) -> int:
    """Judge one text: a prompt, or an answer to one.

    Exits with 0 when the text is allowed or flagged, with 3 when it is stopped.

    Args:
        text: the text; without it and without `--file`, stdin is read to its end.
        file: file that holds the text.
        response: the text is an answer, judged token by token.
        prompt: the prompt that the answer answers; implies `--response`.
        json: print the decision's record, one line of JSON; with `--explain` every token's verdict too.
        explain: show the probabilities, and for an answer each token in the colour of its risk.
        options: which guard, where records go.
    """
    judged = read_text(text, file)
    with options.opened() as guard:
        if response or prompt is not None:
            decision = guard.check_response(prompt or "", judged)
        else:
            decision = guard.check_prompt(judged)
    if json:
        print(Record.of(decision, privacy=Privacy(positions=False, tokens=explain)).to_json())
    else:
        _print(decision, judged, explain)
    return exit_of(decision)


def _print(decision: Decision, judged: str, explain: bool) -> None:
    console = plain_console()
    if explain and decision.direction is Direction.RESPONSE:
        console.print(painted(judged, decision.tokens))
    console.print(describe(decision))
    if explain and decision.verdict:
        console.print(probabilities(decision.verdict))
