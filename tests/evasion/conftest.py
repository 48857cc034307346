"""Counts the decisions of every evasion test and the characters that they leaked: the table of docs/evasion.md.

python -m pytest -s -q tests/evasion
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from guardrail import Decision, Guard
from guardrail.tape import Receipt

DECISIONS: Counter[str] = Counter()
LEAKED: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test's decision tells of a character that was released from a stop on."""
    name = str(getattr(request.node, "originalname", request.node.name))
    record = Guard._record

    def counting(guard: Guard, decision: Decision, text: str) -> Sequence[Receipt]:
        DECISIONS[name] += 1
        LEAKED[name] += decision.leaked_chars
        return record(guard, decision, text)

    monkeypatch.setattr(Guard, "_record", counting)
    yield
    assert LEAKED[name] == 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts where output is not captured."""
    if terminalreporter.config.getoption("capture") == "no":
        for name, n in DECISIONS.items():
            terminalreporter.write_line(f"{name}: {n} decisions, {LEAKED[name]} characters leaked")
