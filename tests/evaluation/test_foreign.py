"""Judges that are Python code of others."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.foreign import PEERS
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import run
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel
from tests.evaluation.made import ROWS

SETTINGS = JudgeSettings(load_policy("balanced"))

MODULE = """
def by_text(texts):
    return [0.9 if "bomb" in text else 0.1 for text in texts]

def by_row(rows):
    return [{"risk": "unsafe", "category": "Violent"} if row.target == "response" else False for row in rows]

def breaking(texts):
    return [1 / ("bomb" not in text) for text in texts]

def numpy_scores(texts):
    import numpy as np
    return np.linspace(0, 1, len(texts))

WORDS = ("bomb",)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def levels(spec: str, rows: Sequence[Row] = ROWS) -> list[RiskLevel]:
    with open_judge(spec, SETTINGS) as judge:
        return [one.level for one in run(judge, rows).judgements]


def test_a_function_gets_texts_or_rows(mine: str) -> None:
    """Texts unless told otherwise."""
    harmful = [level is RiskLevel.UNSAFE for level in levels(f"python:{mine}:by_text")]
    assert harmful == [False, True, False, False, False, False]
    harmful = [level is RiskLevel.UNSAFE for level in levels(f"python:{mine}:by_row?takes=rows")]
    assert harmful == [False, False, False, True, True, True]
    assert set(levels(f"python:{mine}:numpy_scores?batch=6")) == {RiskLevel.SAFE, RiskLevel.UNSAFE}


def test_a_function_that_raises_fails_on_that_row_alone(mine: str) -> None:
    """It counts as the gravest; the others of its batch are judged."""
    with open_judge(f"python:{mine}:breaking", SETTINGS) as judge:
        found = run(judge, ROWS).judgements
    assert [one.failure for one in found] == [None, "EngineError", None, None, None, None]


@pytest.mark.parametrize(
    ("spec", "said"),
    [("nowhere_at_all:f", "PYTHONPATH"), ("MINE:gone", "no function 'gone'"), ("MINE:WORDS", "no function"),
     ("MINE", "python:MODULE:FUNCTION"), ("MINE:by_text?takes=words", "valid: texts, rows")],
)  # fmt: skip
def test_what_cannot_be_called_is_an_error(mine: str, spec: str, said: str) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigurationError, match=said), open_judge(f"python:{spec.replace('MINE', mine)}", SETTINGS):
        pass


def test_a_function_that_always_raises_is_an_error_at_once(mine: str) -> None:
    """By the first, harmless row; the type of the exception is named."""
    with (
        pytest.raises(EngineError, match="raised TypeError"),
        open_judge(f"python:{mine}:breaking?takes=rows", SETTINGS),
    ):
        pass


def test_an_unknown_peer_lists_the_known_ones() -> None:
    """And how to bring another."""
    with pytest.raises(ConfigurationError, match=r"better-profanity.*python:"), open_judge("peer:other", SETTINGS):
        pass


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_judges_where_it_is_installed(name: str) -> None:
    """Where it is not, the error says how to install it."""
    peer, spec = PEERS[name], f"peer:{name}"
    if importlib.util.find_spec(peer.module) is None:
        with pytest.raises(ConfigurationError, match=f"pip install {name}=={peer.version}"), open_judge(spec, SETTINGS):
            pass
        return
    with open_judge(spec, SETTINGS) as judge:
        found = run(judge, ROWS).judgements
    assert all(one.failure is None for one in found)
    assert found[0].level is RiskLevel.SAFE
