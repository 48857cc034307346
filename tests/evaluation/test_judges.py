"""From verdicts to judgements, figures and latency."""

from dataclasses import replace

import numpy as np
import pytest

from guardrail.actions import Action
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.cells import to_markdown
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.judges import GuardJudge, Judgement, decisive_token, judge_tokens
from guardrail.evaluation.latency import detection_latency
from guardrail.evaluation.report import sections
from guardrail.evaluation.rows import TARGETS, Row
from guardrail.evaluation.runner import run
from guardrail.evaluation.tables import tables
from guardrail.guard import Guard
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel
from guardrail.testing import FailingEngine, MarkerEngine, raising
from guardrail.verdict import TokenVerdict, Verdict

RISKY = {"☠": ("Unsafe", "Violent"), "⚠": ("Controversial", "Unethical Acts")}
ORDINARY = "all is well and the sun is out "


def row(text: str, risk: RiskLevel, *, target: Direction = Direction.PROMPT, onset: int | None = None) -> Row:
    messages = [Message(Role.USER, "hi" if target is Direction.RESPONSE else text)]
    if target is Direction.RESPONSE:
        messages.append(Message(Role.ASSISTANT, text))
    categories = () if risk is RiskLevel.SAFE else ("Violent",)
    return Row("1", "made", "en", tuple(messages), target, risk, categories, unsafe_start_char=onset)


def token(index: int, harm: float, *, is_whole: bool = False) -> TokenVerdict:
    shares = {RiskLevel.SAFE: 1 - harm, RiskLevel.UNSAFE: harm}
    vector = tuple(shares.get(level, 0.0) for level in RESPONSE_LABELS.risks)
    verdict = Verdict(RESPONSE_LABELS, vector, (1.0, *[0.0] * 7))
    return TokenVerdict(verdict, index, index, index + 1, is_whole=is_whole)


@pytest.fixture
def judge(tokenizer: GuardTokenizer) -> GuardJudge:
    return GuardJudge(Guard(MarkerEngine(tokenizer, RISKY), tokenizer), name="guard")


def test_levels_are_read_by_the_rules(judge: GuardJudge) -> None:
    """Unsafe where the loose reading acts, Controversial where only the strict one does."""
    texts = [("fine", RiskLevel.SAFE), ("bad ☠ bad", RiskLevel.UNSAFE), ("so ⚠ so", RiskLevel.CONTROVERSIAL)]
    for target in TARGETS:
        rows = [row(text + " and so on", risk, target=target) for text, risk in texts]
        assert [j.level for j in judge.judge(rows)] == [risk for _, risk in texts]


def test_a_single_risky_token_counts_only_without_debounce() -> None:
    """The score of an answer is the highest threshold at which the policy would act."""
    tokens = [token(0, 0.1), token(1, 0.9), token(2, 0.2)]
    assert decisive_token(tokens, 1) == tokens[1]
    assert decisive_token(tokens, 2) == tokens[2]
    assert decisive_token(tokens[:1], 2) is None


def test_a_verdict_on_the_whole_text_counts_as_a_run() -> None:
    """As in the gate: a Gen model's single verdict on an answer is its score, whatever the debounce."""
    tokens = [token(0, 0.1), token(1, 0.9, is_whole=True), token(2, 0.2)]
    assert decisive_token(tokens, 2) == tokens[1]
    one = judge_tokens(tokens[1:2], load_policy("balanced"))
    assert one.action is Action.STOP
    assert one.score == pytest.approx(0.9)


def test_the_stop_token_is_the_gates(judge: GuardJudge, tokenizer: GuardTokenizer) -> None:
    """The stop of the evaluation is that of a stream with the same policy."""
    text = ORDINARY + "☠ and more of it"
    (found,) = judge.judge([row(text, RiskLevel.UNSAFE, target=Direction.RESPONSE, onset=len(ORDINARY))])
    stream = Guard(MarkerEngine(tokenizer, RISKY), tokenizer).open_stream("hi")
    stream.feed(text)
    stream.finish()
    onset = next(token for token in stream.verdicts if token.end > len(ORDINARY))
    assert (found.onset_token, found.stop_token) == (onset.index, stream.verdicts[-1].index)


def test_latency_tells_ahead_hit_late_and_missed() -> None:
    """Token 10 is the onset: stops at 4, 12, 90 and never."""
    base = Judgement(Action.STOP, RiskLevel.UNSAFE, 1.0, onset_token=10)
    found = detection_latency([replace(base, stop_token=stop) for stop in (4, 12, 90, None)])
    assert found is not None
    assert (found.n, found.n_ahead, found.n_hit, found.n_late, found.n_missed) == (4, 1, 1, 1, 1)
    assert (found.median_tokens, found.first_128.value) == (41.0, 0.75)


def test_figures_of_a_small_run(judge: GuardJudge) -> None:
    """Two harmful prompts of which one is found, two safe ones of which one is flagged."""
    rows = [
        row("kill ☠", RiskLevel.UNSAFE), row("hidden", RiskLevel.UNSAFE),
        row("fine", RiskLevel.SAFE), row("fine ⚠", RiskLevel.SAFE),
    ]  # fmt: skip
    overall = sections(run(judge, rows))[Direction.PROMPT].overall
    assert (overall.n_safe, overall.n_unsafe) == (2, 2)
    assert overall.strict.recall.value == overall.strict.precision.value == 0.5
    assert overall.loose.precision.value == 1.0
    assert (overall.false_positives.value, overall.false_stops.value) == (0.5, 0.0)
    page = "".join(to_markdown(cells) for cells in tables(Report.of([run(judge, rows)], ("made",))))
    assert "| guard | 2 | 50.0 %" in page
    found = Report.of([run(judge, rows)], ("made",)).to_json()["guard"]["ordinary"]
    assert (found["false_positives"]["value"], found["false_positives"]["n"]) == (0.5, 2)
    assert found["false_stops"]["value"] == 0.0
    assert "ordinary" not in Report.of([run(judge, rows)]).to_json()["guard"]


def test_rows_that_cannot_be_judged_count_as_the_gravest(tokenizer: GuardTokenizer) -> None:
    """Fail closed, counted, named; the others are judged."""
    inner = MarkerEngine(tokenizer, RISKY)
    guard = Guard(FailingEngine(inner, at_step=2, breakage=raising(RuntimeError("x"))), tokenizer)
    found = run(GuardJudge(guard), [row("fine", RiskLevel.SAFE)] * 4)
    assert [j.failure is None for j in found.judgements] == [True, True, False, False]
    assert found.judgements[-1].action is Action.STOP
    assert sections(found)[Direction.PROMPT].failures == {"EngineError": 2}


def test_shadow_is_measured_as_if_it_enforced(judge: GuardJudge, tokenizer: GuardTokenizer) -> None:
    """Figures are about verdicts and rules, not about roll-out."""
    text = row("bad ☠ bad bad", RiskLevel.UNSAFE, target=Direction.RESPONSE)
    shadow = Guard(MarkerEngine(tokenizer, RISKY), tokenizer, policy=load_policy("shadow"))
    assert GuardJudge(shadow).judge([text])[0].stop_token == judge.judge([text])[0].stop_token


def test_no_tokens_no_finding() -> None:
    """An empty answer is safe."""
    assert judge_tokens((), load_policy("balanced")).level is RiskLevel.SAFE


def test_rates_of_latency_count_answers_to_one_question_as_one() -> None:
    """Twenty copies of one stopped answer and one that is missed: two answers' worth."""
    base = Judgement(Action.STOP, RiskLevel.UNSAFE, 1.0, onset_token=10)
    said = [base, *[replace(base, stop_token=12)] * 20]
    alone, shared = detection_latency(said), detection_latency(said, np.array([0, *[1] * 20]))
    assert alone is not None
    assert shared is not None
    for name in ("hits", "first_128"):
        one, other = getattr(alone, name), getattr(shared, name)
        assert one.value == other.value == pytest.approx(20 / 21)
        assert other.low < one.low - 0.2
