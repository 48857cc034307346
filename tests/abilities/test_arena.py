"""Arena-Hard-v2: verdicts, win rates by hand, and style."""

import numpy as np
import pytest

from guardrail.abilities.arena import Battle, verdict_in, won
from guardrail.abilities.arena_scores import STYLE, controlled, fit, style_difference, win_rate
from guardrail.abilities.scores import Score, difference, mean_at_k


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My final verdict is tie: [[A=B]]", "A=B"),
        ("[[A>B]] at first, but [[B>>A]]", "B>>A"),
        ("[[ a>>b ]]", "A>>B"),
        ("[[B<A]]", "B<A"),
        ("[A>B]", None),
        ("[[A>A]]", None),
        ("", None),
    ],
)
def test_the_last_verdict_counts(text: str, expected: str | None) -> None:
    """In any case and with blanks; what compares a side with itself is none."""
    assert verdict_in(text) == expected


@pytest.mark.parametrize(
    ("verdict", "for_a"),
    [("A>>B", (1, 3)), ("A>B", (1, 1)), ("A=B", (0.5, 1)), ("B>A", (0, 1)), ("B>>A", (0, 3)), ("A<<B", (0, 3)),
     ("B<A", (1, 1))],
)  # fmt: skip
def test_both_sides_share_a_game(verdict: str, for_a: tuple[float, int]) -> None:
    """Much better counts three times, as published; what one side wins the other loses."""
    assert won(verdict, "A") == for_a
    share, weight = won(verdict, "B")
    assert (1 - share, weight) == for_a


def battle(
    name: str, *games: tuple[float, int], answer: str = "same", baseline: str = "same", failure: str = ""
) -> Battle:
    """Return a battle."""
    return Battle(name, "hard_prompt", games, answer, baseline, failure)


def test_a_win_rate_is_the_weighted_mean_of_games() -> None:
    """(3 * 1 + 1 * 0.5 + 1 * 0 + 1 * 1) / 6 = 0.75; a battle without a verdict is left out and counted."""
    battles = [battle("q0", (1, 3), (0.5, 1)), battle("q1", (0, 1), (1, 1)), battle("q2", failure="no_verdict")]
    found = win_rate("w", battles)
    assert found.value.value == pytest.approx(0.75)
    assert found.value.n == 2
    assert found.counts["no_verdict"] == 1
    assert found.shares == pytest.approx((3.5 / 4, 0.5))


def test_without_style_both_win_rates_agree() -> None:
    """Where answers look alike there is nothing to hold equal; the pull towards 0 is small."""
    battles = [battle(f"q{i}", (float(i % 4 > 0), 1), (float(i % 4 > 0), 1)) for i in range(40)]
    equal = controlled({"m": battles})
    rate = equal.rates["m"].estimate()
    assert rate.value == pytest.approx(0.75, abs=0.002)
    assert rate.low is not None
    assert rate.high is not None
    assert rate.low < 0.75 < rate.high
    assert dict(equal.coefficients) == dict.fromkeys(STYLE, 0.0)


def test_wins_by_length_alone_are_taken_away() -> None:
    """A judge that likes long answers: with the length held equal, the long-winded model is no better than the terse
    one.
    """
    rng = np.random.default_rng(0)
    battles: dict[str, list[Battle]] = {"long": [], "short": []}
    for name, middle in (("long", 300), ("short", 100)):
        for i in range(400):
            n, m = int(rng.integers(middle // 2, 3 * middle // 2)), int(rng.integers(100, 300))
            p = 1 / (1 + np.exp(-4 * (n - m) / (n + m)))
            games = tuple((float(rng.random() < p), 1) for _ in range(2))
            battles[name].append(battle(f"q{i}", *games, answer="x" * n, baseline="x" * m))
    plain = {name: win_rate("w", some).value.value for name, some in battles.items()}
    equal = controlled(battles)
    assert plain["long"] is not None
    assert plain["short"] is not None
    assert plain["long"] - plain["short"] > 0.15
    rates = {name: one.value for name, one in equal.rates.items()}
    assert rates["long"] == pytest.approx(0.5, abs=0.08)
    assert rates["short"] == pytest.approx(0.5, abs=0.08)
    assert equal.coefficients["length"] > 0.5


def test_a_regression_finds_known_odds() -> None:
    """Won three of four: the logit is log 3; and one that won all stays finite."""
    x, y = np.ones((400, 1)), np.array([1.0, 1, 1, 0] * 100)
    assert fit(x, y, np.ones(400))[0] == pytest.approx(np.log(3), abs=1e-3)
    assert np.isfinite(fit(x, np.ones(400), np.ones(400))).all()
    assert fit(x[:4], y[:4], np.array([3.0, 0, 0, 1]))[0] == pytest.approx(np.log(3), abs=0.05)


def test_style_is_length_headers_lists_and_bold() -> None:
    """Marks inside code do not count; equal answers do not differ; swapping turns the sign."""
    marked = "# Head\n- one\n2. two\n**bold**\n```\n# no\n- no\n```"
    plain = "x" * len(marked)
    found = style_difference(marked, plain)
    assert found[0] == 0
    assert all(part > 0 for part in found[1:])
    assert found[2] > found[1]
    assert style_difference(plain, marked) == tuple(-part for part in found)
    assert style_difference("", "") == (0, 0, 0, 0)


def test_a_mean_over_problems_draws_whole_problems() -> None:
    """Two problems at 1 and two at 0, eight samples each: the interval is that of four, not of 32."""
    found = mean_at_k([1.0, 1.0, 0.0, 0.0])
    assert (found.value, found.n) == (0.5, 4)
    assert found.low == 0
    assert found.high == 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_alike_is_not_certain(share: float) -> None:
    """A bootstrap of 30 right problems would say 100 % to 100 %."""
    found = mean_at_k([share] * 30)
    assert found.value == share
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.05


def test_differences_are_paired() -> None:
    """The same improvement on every problem is certain, however much problems differ."""
    before = Score("s", tuple("abcdefgh"), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 10)
    after = Score("s", tuple("hgfedcba"), tuple(share + 0.2 for share in reversed(before.shares)), 10)
    found = difference(after, before)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2, abs=1e-6)
    assert difference(before, before).value == 0
    assert difference(Score("s", ("z",), (1.0,), 1), before).value is None
