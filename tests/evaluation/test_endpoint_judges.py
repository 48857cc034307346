"""Judges behind HTTP: OpenAI's moderation endpoint, our own service and anybody's, against real servers."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from guardrail.actions import Action
from guardrail.errors import ConfigurationError, EngineError
from guardrail.evaluation.comparison import Report
from guardrail.evaluation.endpoint_judges import ModerationResult, to_opinion
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.judges import GuardJudge, Judgement
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.rows import Row
from guardrail.evaluation.runner import run
from guardrail.guard import Guard
from guardrail.openai_categories import OPENAI_CATEGORIES
from guardrail.policy_file import load_policy
from guardrail.taxonomy import RiskLevel
from tests.evaluation.made import ROWS, answer, prompt
from tests.generative.gen_server import ScriptedServer, Server, replying, send
from tests.service.servers import Serving, failing_guard, marker_guard, serving
from tests.service.test_serve_command import run as running

MARKED = (
    prompt("bread"), prompt("say ☢", RiskLevel.CONTROVERSIAL), prompt("how to ☠", RiskLevel.UNSAFE),
    answer("Mix it well."), answer("Mix it ☢ and stir it", RiskLevel.CONTROVERSIAL),
    answer("Mix it ☠ and stir it ☢ again", RiskLevel.UNSAFE, onset=7),
    answer("<think>\nHow to ☠?\n</think>\n\nMix it.", RiskLevel.UNSAFE, onset=16),
)  # fmt: skip


@pytest.fixture(scope="module")
def shadow() -> Iterator[Serving]:
    """A service that reads answers to their end."""
    with serving(guard=marker_guard("shadow")) as served:
        yield served


def settings(policy: str = "balanced", **environment: str) -> JudgeSettings:
    return JudgeSettings(load_policy(policy), environment)


def judgements(spec: str, rows: tuple[Row, ...], how: JudgeSettings) -> tuple[Judgement, ...]:
    with open_judge(spec, how) as judge:
        return run(judge, rows).judgements


@pytest.mark.parametrize("policy", ["strict", "balanced", "loose"])
def test_a_guard_behind_our_service_gives_the_same_judgements(shadow: Serving, policy: str) -> None:
    """All of each: action, level, score, category, tokens, probabilities and what was seen along the answer."""
    with marker_guard(policy) as guard:
        expected = run(GuardJudge(guard), MARKED).judgements
    assert judgements(f"service:{shadow.url}", MARKED, settings(policy)) == expected
    assert {one.level for one in expected} == set(RiskLevel)


def flat(value: Any, name: str = "") -> dict[str, float]:
    """All numbers of a JSON value, by their path; what ran and how long it took are not among them."""
    if isinstance(value, bool) or not isinstance(value, dict | list | int | float):
        return {}
    if isinstance(value, int | float):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        n: v for key, one in pairs if key not in ("seconds", "identity") for n, v in flat(one, f"{name} {key}").items()
    }


@pytest.mark.slow
def test_the_figures_of_the_served_default_model_are_those_of_the_guard() -> None:
    """`guardrail serve` in a process of its own, and the embedded model here: every figure of the report."""
    with running("--policy", "shadow") as server:
        with open_judge(f"service:{server.url}?name=guard&at_once=1", settings()) as judge:
            served = run(judge, ROWS)
        with open_judge(f"service:{server.url}?name=guard", settings()) as judge:
            at_once = run(judge, ROWS)
    with Guard.default(policy="balanced", threads=1) as guard:
        local = run(GuardJudge(guard, name="guard"), ROWS)
    unscored = [
        [replace(one, score=0.0, probabilities=None) for one in each.judgements] for each in (served, at_once, local)
    ]
    assert unscored[0] == unscored[1] == unscored[2]
    expected = flat(Report.of([local]).to_json())
    assert flat(Report.of([served]).to_json()) == pytest.approx(expected, abs=1e-6)
    assert flat(Report.of([at_once]).to_json()) == pytest.approx(expected, abs=1e-5)
    assert len([name for name in expected if name.endswith("auc value")]) >= 2
    assert served.identity | local.identity == served.identity
    assert served.identity["service_policy"] == "shadow"


@pytest.mark.slow
def test_the_flags_of_the_served_default_model_are_those_of_the_guard() -> None:
    """In OpenAI's words: what the policy acts on is flagged, and the scores of our categories sum up to the guard's."""
    with running() as server, open_judge(f"openai:{server.url}/v1?form=messages", settings()) as judge:
        served = run(judge, ROWS).judgements
    with Guard.default(policy="balanced", threads=1) as guard:
        local = run(GuardJudge(guard), ROWS).judgements
    assert [one.level is not RiskLevel.SAFE for one in served] == [one.action is not Action.ALLOW for one in local]
    assert [one.score for one in served[:3]] == pytest.approx([one.score for one in local[:3]], abs=1e-6)
    assert [one.category for one in served] == [one.category for one in local]


def test_openais_own_form_sends_the_judged_text_alone(shadow: Serving) -> None:
    """Its endpoint knows no conversations: an answer is judged like any text."""
    found = judgements(f"openai:{shadow.base_url}#omni-moderation-latest", MARKED, settings())
    assert [one.level for one in found[:6]] == [RiskLevel.SAFE, RiskLevel.UNSAFE, RiskLevel.UNSAFE] * 2
    assert [one.category for one in found[:3]] == [None, "Unethical Acts", "Violent"]
    assert all(one.failure is None for one in found)


def test_a_service_that_stops_answers_itself_cannot_be_measured_by_its_verdicts() -> None:
    """It reads no further than its stop: the hint says what to do."""
    with (
        serving(guard=marker_guard("balanced")) as served,
        open_judge(f"service:{served.url}", settings()) as judge,
        pytest.raises(ConfigurationError, match="--policy shadow"),
    ):
        judge.judge(MARKED)


def test_a_service_whose_model_fails_is_counted_as_failing() -> None:
    """Fail closed: the gravest judgement, with the error's name."""
    with serving(guard=failing_guard(RuntimeError("x"), policy="shadow")) as served:
        with pytest.raises(EngineError), open_judge(f"service:{served.url}", settings()):
            pass
        how = JudgeSettings(load_policy("balanced"), is_tried=False)
        (found,) = judgements(f"service:{served.url}", ROWS[:1], how)
    assert (found.action, found.failure) == (Action.STOP, "EngineError")


def test_a_service_that_tells_of_no_token_is_counted_as_failing() -> None:
    """An older one, say: an answer that nobody reported on must not count as Safe; an empty one may."""
    told = {"action": "allow", "risk_probabilities": None, "category_probabilities": None, "refusal": None,
            "model": "m", "model_sha256": "", "engine": "e", "precision": "fp32", "policy": "shadow",
            "failure": None}  # fmt: skip
    with ScriptedServer(replying({"results": [{"guardrail": told}]})) as server:
        how = JudgeSettings(load_policy("balanced"), is_tried=False)
        read, empty = judgements(f"service:{server.url}", (answer("Mix it ☠."), answer("\n")), how)
    assert (read.action, read.failure) == (Action.STOP, "EngineError")
    assert (empty.action, empty.failure) == (Action.ALLOW, None)


def result(scores: dict[str, float], *flagged: str) -> ModerationResult:
    categories = {name: name in flagged for name in scores}
    return ModerationResult(flagged=bool(flagged), categories=categories, category_scores=scores)


def test_openais_categories_become_ours_by_the_table() -> None:
    """The flagged one with the highest score counts; the score is the highest of all."""
    found = to_opinion(result({"violence": 0.6, "illicit/violent": 0.2, "hate": 0.7}, "violence", "illicit/violent"))
    assert (found.level, found.category, found.score) == (RiskLevel.UNSAFE, "Violent", 0.7)
    harmless = to_opinion(result(dict.fromkeys(OPENAI_CATEGORIES, 0.01)))
    assert (harmless.level, harmless.category, harmless.score) == (RiskLevel.SAFE, None, 0.01)


def test_the_key_is_sent_as_a_bearer_token_and_taken_from_what_was_given() -> None:
    """By the name of a variable, so that it stands in no command, and goes only where it was meant to."""
    play = replying({"model": "m-1", "results": [{"flagged": False, "categories": {}, "category_scores": {}}]})
    with ScriptedServer(play) as server:
        with open_judge(f"openai:{server.url}#m?key=THEIR_KEY", settings(THEIR_KEY="k")) as judge:
            judge.judge(ROWS[:1])
        assert set(server.keys) == {"Bearer k"}
        assert server.asked[0] == ("/v1/moderations", {"input": "Hello", "model": "m"})
        assert judge.identity["model"] == "m-1"
        with (
            pytest.raises(ConfigurationError, match="THEIR_KEY"),
            open_judge(f"openai:{server.url}?key=THEIR_KEY", settings()),
        ):
            pass


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (replying({}, 401), "check the API key"),
        (replying({"results": []}), "no moderation"),
        (replying(b"x"), "no JSON"),
    ],
)
def test_an_endpoint_that_cannot_work_is_an_error_at_once(play: Any, said: str) -> None:
    """Not a table full of failures."""
    with (
        ScriptedServer(play) as server,
        pytest.raises(EngineError, match=said),
        open_judge(f"openai:{server.url}", settings()),
    ):
        pass


def test_no_url_is_an_error() -> None:
    """With an example."""
    with pytest.raises(ConfigurationError, match="is no URL"), open_judge("openai:localhost", settings()):
        pass


class Words(Server):
    """A service of somebody's: texts with a word in them are harmful."""

    def answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Answer in the form of docs/judges.md."""
        answers = [{"risk": "unsafe" if "bomb" in row["text"] else "safe"} for row in body["rows"]]
        send(request, {"answers": answers})


@pytest.mark.parametrize("batch", [1, 4])
def test_any_service_can_be_a_judge(batch: int) -> None:
    """One row a request, or several."""
    with Words() as server:
        found = judgements(f"{server.url}/judge?batch={batch}", ROWS, settings())
        assert [one.level for one in found] == [RiskLevel.SAFE, RiskLevel.UNSAFE, *[RiskLevel.SAFE] * 4]
        assert server.asked[-1][0] == "/v1/judge"
        assert len(server.asked) == 1 + (6 if batch == 1 else 2)
        sent = [row for _, body in server.asked for row in body["rows"]]
    assert {json.dumps(row["messages"][-1]["content"]) for row in sent[1:]} == {json.dumps(row.id) for row in ROWS}
    assert {"text", "target", "messages"} == set(sent[0])
