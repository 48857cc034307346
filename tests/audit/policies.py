"""Hypothesis strategies for whole policies, and guards whose decisions are recorded."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from guardrail.actions import Action
from guardrail.cascade_rules import CascadeRules
from guardrail.normalise_rules import NormaliseRules
from guardrail.policy import CategoryRule, DebounceRule, OnStop, Policy, ReleaseMode, Rules, TooLong
from guardrail.records import Positions
from guardrail.taxonomy import RESPONSE_LABELS, Category, LabelSet
from guardrail.tool_rules import OnResult, ToolRule, ToolRules, Trust

PLAIN = (Action.ALLOW, Action.FLAG, Action.STOP)
ROUND = (0.0, 0.05, 0.1, 0.2, 0.4, 0.5, 0.8, 0.85, 0.9, 1.0)
"""Thresholds on both sides of what the made-up engines say, and on it."""

thresholds = st.none() | st.sampled_from(ROUND) | st.floats(0, 1)


@st.composite
def category_rules(draw: st.DrawFn, least: Action) -> CategoryRule:
    """An override that is consistent by itself; `least` is the direction's action at Controversial."""
    controversial = draw(st.none() | st.sampled_from(PLAIN))
    unsafe = draw(st.sampled_from([a for a in PLAIN if a.rank >= (controversial or least).rank]))
    return CategoryRule(controversial, unsafe, draw(thresholds))


@st.composite
def rules(draw: st.DrawFn, *, is_prompt: bool = False) -> Rules:
    """Rules of one direction."""
    controversial = draw(st.sampled_from(PLAIN))
    unsafe = draw(st.sampled_from([a for a in PLAIN if a.rank >= controversial.rank]))
    names = draw(st.lists(st.sampled_from(Category), max_size=4, unique=True))
    return Rules(
        controversial, unsafe, {name.value: draw(category_rules(controversial)) for name in names},
        draw(thresholds), draw(thresholds),
        1 if is_prompt else draw(st.integers(1, 4)), draw(st.sampled_from(DebounceRule)),
    )  # fmt: skip


@st.composite
def tool_rules(draw: st.DrawFn) -> ToolRules:
    """Rules for tools called `calendar`, `shell` and whatever else."""
    one = st.builds(ToolRule, st.sampled_from(Trust), st.sampled_from([Trust.READ, Trust.TRUSTED]))
    names = draw(st.dictionaries(st.sampled_from(["calendar", "she*", 'x.y "z" \\']), one, max_size=3))
    return ToolRules(draw(one), names, on_result=draw(st.sampled_from(OnResult)))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies of every kind that guards take."""
    tools: ToolRules = draw(tool_rules())
    response = draw(rules())
    hardest = min(
        [response.unsafe, *(r.unsafe for r in response.categories.values() if r.unsafe)], key=lambda a: a.rank
    )
    controversial = draw(st.none() | st.sampled_from([a for a in Action if a.rank <= hardest.rank]))
    values: dict[str, Any] = {
        "prompt": draw(rules(is_prompt=True)),
        "response": response,
        "enforce": draw(st.booleans()),
        "release": draw(st.sampled_from(ReleaseMode)),
        "on_stop": draw(st.sampled_from(OnStop)),
        "on_failure": draw(st.sampled_from(PLAIN)),
        "too_long": draw(st.sampled_from(TooLong)),
        "max_held_chars": draw(st.none() | st.integers(1, 30)),
        "on_held": draw(st.sampled_from([Action.FLAG, Action.STOP])),
        "unreadable": draw(st.sampled_from(PLAIN)),
        "judge_system": draw(st.booleans()),
        "max_repairs": draw(st.integers(1, 3)),
        "cascade": CascadeRules(0.2, draw(st.sampled_from([0.2, 0.95]))),
        "normalise": NormaliseRules(draw(st.booleans()), draw(st.booleans())),
        "tools": ToolRules(tools.default, tools.names, controversial, tools.on_result),
    }
    return Policy(name=draw(st.sampled_from(["mine", 'a "quoted" \\ name\n', "安全\x7f"])), **values)


@st.composite
def positions_of(draw: st.DrawFn, *, labels: LabelSet = RESPONSE_LABELS, max_size: int = 12) -> Positions:
    """Judged positions of a text of at most 1,000 characters: clear, doubtful and contradictory verdicts, tokens that
    share characters, whole texts among them.
    """
    n = draw(st.integers(1, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    risk = rng.dirichlet([draw(st.sampled_from([0.3, 1.0, 3.0]))] * 3, n).astype(np.float32)
    if draw(st.booleans()):  # values that are thresholds too
        risk = np.array(draw(st.lists(st.sampled_from(_EDGES), min_size=n, max_size=n)), np.float32)
    category = rng.dirichlet([0.5] * len(labels.categories), n).astype(np.float32)
    start = np.sort(rng.integers(0, 2 * n, n)).astype(np.int64)
    end = start + rng.integers(0, 4, n)
    flags = rng.choice([0, 1, 1, 1, 3 if draw(st.booleans()) else 1], n).astype(np.uint8) | np.uint8(4)
    return Positions(labels, risk, category, start, end, flags)


_EDGES = (
    (0.5, 0.5, 0.0),
    (0.5, 0.0, 0.5),
    (0.2, 0.8, 0.0),
    (0.2, 0.4, 0.4),
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.9, 0.05, 0.05),
)
