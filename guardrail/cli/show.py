"""How decisions and token verdicts look in a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardrail.actions import Action
from guardrail.decision import Decision, Reason
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict, Verdict

ACTION_STYLES = {Action.ALLOW: "green", Action.FLAG: "yellow", Action.STOP: "bold red"}
RISK_STYLES = {RiskLevel.SAFE: "green", RiskLevel.CONTROVERSIAL: "yellow", RiskLevel.UNSAFE: "bold white on red"}
DOUBTFUL_STYLE = "dark_khaki"
DOUBTFUL = 0.25
"""Probability of harm from which a token that is still Safe is coloured as doubtful; our own choice."""


_CONTROL_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that changes nothing but colours: no markup, no highlighting, no wrapping."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True, emoji=False)


def table_console(piped_width: int, *, stderr: bool = False) -> Console:
    """Return a console for tables: of a fixed width where nobody looks, and names of others change nothing in it."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = piped_width
    return console


def figures(first: str, *others: str) -> Table:
    """Return an empty table: a column of names, and columns of figures."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def describe(decision: Decision) -> Text:
    """Return one line: the action, why, and where."""
    line = Text(decision.action.value, ACTION_STYLES[decision.action])
    line.append(": " + "; ".join(_findings(decision)), "default")
    return line


def _findings(decision: Decision) -> Iterable[str]:
    if decision.would_action is not decision.action:
        yield f"shadow mode, would {decision.would_action.value}"
    if decision.failure:
        yield f"{decision.failure.kind}: {decision.failure.message}"
    elif decision.reason not in (Reason.CLEAR, Reason.VERDICT):
        yield decision.reason.value.replace("_", " ")
    if decision.risk:
        harm = f", {decision.category}" if decision.category else ""
        yield f"{decision.risk.value}{harm}"
    if decision.verdict:
        yield f"probability of harm {decision.verdict.non_safe_probability:.2f}"
    if decision.stop_offset is not None:
        total = decision.released_chars + decision.withheld_chars
        yield f"at character {decision.stop_offset} of {total}"
    yield f"policy {decision.identity.policy}"


def probabilities(verdict: Verdict) -> Text:
    """Return the probabilities of one verdict, the likeliest categories first; they mean something only with harm."""
    risks = "  ".join(f"{name} {p:.2f}" for name, p in verdict.risk_probabilities.items())
    ranked = sorted(verdict.category_probabilities.items(), key=lambda item: -item[1])[:3]
    return Text(f"risk: {risks}\ncategory, given harm: " + "  ".join(f"{name} {p:.2f}" for name, p in ranked))


def painted(text: str, verdicts: Sequence[TokenVerdict], offset: int = 0) -> Text:
    """Return a text with each token in the colour of its risk, and control characters as their pictures (U+240D for a
    carriage return): one for one, since rich drops some, and colours would move to other characters.

    Args:
        text: a piece of the judged text.
        verdicts: verdicts on the whole, with spans in characters of the whole.
        offset: where the piece begins in the whole.
    """
    shown = Text(text.encode("utf-8", "replace").decode("utf-8").translate(_CONTROL_PICTURES), "default")
    for token in verdicts:
        start, end = max(token.start - offset, 0), min(token.end - offset, len(text))
        if start < end:
            shown.stylize(_style(token.verdict), start, end)
    return shown


def _style(verdict: Verdict) -> str:
    if verdict.risk is RiskLevel.SAFE and verdict.non_safe_probability >= DOUBTFUL:
        return DOUBTFUL_STYLE
    return RISK_STYLES[verdict.risk]


def decisions_table(decisions: Iterable[Decision]) -> Table:
    """Return recorded decisions, one row each."""
    table = Table(title="Recorded decisions", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("direction", "action", "risk", "category"):
        table.add_column(column, no_wrap=column != "category")
    for column in ("p(harm)", "stop at", "released", "withheld", "tokens", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for decision in decisions:
        table.add_row(
            decision.direction.value,
            Text(decision.action.value, ACTION_STYLES[decision.action]),
            decision.risk.value if decision.risk else "-",
            decision.category or "-",
            f"{decision.verdict.non_safe_probability:.2f}" if decision.verdict else "-",
            "-" if decision.stop_offset is None else str(decision.stop_offset),
            str(decision.released_chars),
            str(decision.withheld_chars),
            str(decision.n_tokens),
            f"{decision.latency_ms:.0f}",
        )
    return table
