"""Categories of one's own, end to end: checkpoint, export, verdict, decision, record, policy, replay, doors."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from langchain_core.language_models import FakeListChatModel

from guardrail import Action, Guard, Policy, RiskLevel
from guardrail.adapters.langchain import GuardRunnable
from guardrail.adapters.litellm.records import tracing_of
from guardrail.audit.replay import Replayed, replay, unpacked
from guardrail.checkpoint import Checkpoint
from guardrail.cli.main import run
from guardrail.context import check_categories
from guardrail.decision import Decision
from guardrail.errors import PolicyError
from guardrail.evaluation.judges import GuardJudge
from guardrail.evaluation.rows import parse_row
from guardrail.onnx_export import export_checkpoint
from guardrail.openai_categories import OPENAI_CATEGORIES, flags
from guardrail.policy import CategoryRule, Rules
from guardrail.policy_file import parse_policy
from guardrail.policy_text import render_policy
from guardrail.records import open_sink, read_records
from guardrail.records.positions import Positions
from guardrail.records.record import Record
from guardrail.taxonomy import PUBLISHED_RISKS, LabelSet
from guardrail.testing import MarkerEngine, default_tokenizer
from tests.service.servers import serving
from tests.tiny import write_tiny

OWN = ("Financial Advice", "Medical Advice", "Competitors & Rivals")
PROMPTS = LabelSet(PUBLISHED_RISKS, (*OWN, "Jailbreak"))
ANSWERS = LabelSet(PUBLISHED_RISKS, OWN)
RULES = 'controversial = "stop"\nunsafe = "stop"\n'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny checkpoint with categories of its own, and its int8 export."""
    root = tmp_path_factory.mktemp("own")
    checkpoint = write_tiny(root / "checkpoint", prompt_labels=PROMPTS, response_labels=ANSWERS)
    return SimpleNamespace(checkpoint=checkpoint, export=export_checkpoint(checkpoint, root / "export"))


@pytest.fixture(scope="module")
def guard(folders: SimpleNamespace) -> Iterator[Guard]:
    """A guard that stops whatever is not Safe at once."""
    policy = Policy(prompt=Rules(), response=Rules())
    with Guard.load(folders.export, policy=policy) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def risky(guard: Guard) -> SimpleNamespace:
    """A prompt and an answer that the random model finds risky, of a category of one's own."""
    texts = [f"tell me number {number} of the things you know about {number}" for number in range(400)]
    prompt = next(text for text in texts if guard.judge_prompt(text).category in OWN)
    return SimpleNamespace(prompt=prompt, answer=next(t for t in texts if guard.check_response("hi", t).stopped))


def with_rule(guard: Guard, decision: Decision, action: str) -> Policy:
    """The policy of a file that has a rule for the decision's category, by its name alone."""
    name = json.dumps(decision.category)
    rule = f'controversial = "{action}"\nunsafe = "{action}"\n'
    text = f'name = "mine"\n[prompt]\n{RULES}[prompt.categories.{name}]\n{rule}[response]\n{RULES}'
    return guard.with_policy(parse_policy(f"{text}[response.categories.{name}]\n{rule}")).policy


def test_label_maps_are_the_checkpoints_own_in_the_export_too(folders: SimpleNamespace, guard: Guard) -> None:
    """config.json holds the names as they are spelled, Jailbreak by its published spelling; the engine has them."""
    config = json.loads((folders.export / "config.json").read_text("utf-8"))
    assert list(config["response_category_map"].values()) == list(OWN)
    assert config["num_query_category"] == 4
    for labels in (Checkpoint.open(folders.checkpoint).config, guard.engine.info):
        assert (labels.prompt_labels, labels.response_labels) == (PROMPTS, ANSWERS)


def test_a_verdict_and_its_decision_name_the_category(guard: Guard, risky: SimpleNamespace) -> None:
    """The probabilities are those of the model's own names; the decision has the most probable one."""
    for decision, labels in (
        (guard.check_prompt(risky.prompt), PROMPTS), (guard.check_response("hi", risky.answer), ANSWERS)
    ):  # fmt: skip
        assert decision.verdict is not None
        assert tuple(decision.verdict.category_probabilities) == labels.categories
        assert decision.category == max(labels.categories, key=decision.verdict.category_probabilities.__getitem__)
        assert decision.action is Action.STOP


def test_a_rule_of_a_policy_file_goes_by_the_name(guard: Guard, risky: SimpleNamespace) -> None:
    """A rule for the category decides; one for another category does not. No list of names is needed."""
    stopped = guard.check_prompt(risky.prompt)
    allowed = guard.with_policy(with_rule(guard, stopped, "allow")).check_prompt(risky.prompt)
    assert (allowed.action, allowed.risk, allowed.category) == (Action.ALLOW, None, None) or not allowed.flagged
    other = replace(stopped, category=next(name for name in OWN if name != stopped.category))
    assert guard.with_policy(with_rule(guard, other, "allow")).check_prompt(risky.prompt).action is Action.STOP


def test_names_are_refused_against_the_loaded_model(guard: Guard) -> None:
    """A file may name any category; a guard refuses those that its model cannot name, in rules and in messages."""
    rule = parse_policy(
        f'name = "x"\n[prompt]\n{RULES}[response]\n{RULES}[response.categories.Weather]\nunsafe = "stop"'
    )
    text = parse_policy(f'name = "x"\n[messages.Weather]\nen = "No."\n[prompt]\n{RULES}[response]\n{RULES}')
    for policy in (rule, text):
        with pytest.raises(PolicyError, match=r"unknown category 'Weather'; valid: Competitors & Rivals, Copyright"):
            guard.with_policy(policy)
    for published in ("Violent", "Illegal Acts", *OWN):
        guard.with_policy(
            parse_policy(
                f'name = "x"\n[prompt]\n{RULES}[response]\n{RULES}[prompt.categories."{published}"]\nunsafe = "stop"'
            )
        )


def test_a_rule_for_a_category_of_the_other_side_is_refused(guard: Guard) -> None:
    """What the model names of answers alone decides nothing about a prompt, and the other way round."""
    info = replace(guard.engine.info, prompt_labels=LabelSet(PUBLISHED_RISKS, ("Questions",)))
    rules = Rules(categories={OWN[0]: CategoryRule(unsafe=Action.STOP)})
    check_categories(replace(Policy(), response=rules, messages={OWN[0]: {"en": "No."}}), [info])
    with pytest.raises(PolicyError, match=r"prompt: unknown category 'Financial Advice'; valid: .*Questions"):
        check_categories(replace(Policy(), prompt=rules), [info])
    with pytest.raises(PolicyError, match="response: unknown category 'Questions'"):
        check_categories(replace(Policy(), response=Rules(categories={"Questions": CategoryRule()})), [info])


def test_either_model_of_a_cascade_may_have_them(guard: Guard) -> None:
    """A rule for a category of the strong model is accepted, in a copy with another policy too."""
    tokenizer = default_tokenizer()
    cheap = Guard(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}), tokenizer)
    policy = replace(Policy(), prompt=Rules(categories={OWN[0]: CategoryRule(unsafe=Action.STOP)}))
    both = Guard.cascade(cheap, guard, policy=policy)
    assert both.with_policy(policy).policy == policy
    assert {name for info in both.models for name in info.prompt_labels.categories} >= {*OWN, "Violent"}
    with pytest.raises(PolicyError, match="Financial Advice"):
        cheap.with_policy(policy)


def test_the_policy_can_be_written_to_a_file_again(guard: Guard, risky: SimpleNamespace) -> None:
    """Rules and messages of own categories survive the file."""
    policy = with_rule(guard, guard.check_prompt(risky.prompt), "flag")
    policy = replace(policy, messages={OWN[1]: {"en": "Ask a doctor."}, "default": {"en": "No."}})
    assert parse_policy(render_policy(policy)) == policy
    assert policy.stop_message(OWN[1]) == "Ask a doctor."
    assert policy.stop_message(OWN[0]) == "No."


def test_a_record_holds_it_and_replays_under_a_rule(guard: Guard, risky: SimpleNamespace, tmp_path: Path) -> None:
    """From the file alone: the category, all probabilities by name, and what a rule on it would have done."""
    with open_sink(tmp_path / "records.db") as sink:
        recording = guard.with_policy(guard.policy, sinks=[sink])
        decisions = [recording.check_prompt(risky.prompt), recording.check_response("hi", risky.answer)]
    records = sorted(read_records(tmp_path / "records.db"), key=lambda record: record.direction)
    for record, decision in zip(records, decisions, strict=True):
        assert record.category == decision.category
        assert decision.verdict is not None
        assert record.category_probabilities == decision.verdict.category_probabilities
        assert record.positions is not None
        assert set(Positions.from_bytes(record.positions).labels.categories) <= {*PROMPTS.categories}
        assert Record.model_validate_json(record.model_dump_json()) == record
        recorded = unpacked(record)
        assert not isinstance(recorded, str)
        allowed = replay(recorded, with_rule(guard, decision, "allow"))
        assert isinstance(allowed, Replayed)
        assert (record.action, allowed.category == decision.category and allowed.action is Action.STOP) == (
            Action.STOP, False
        )  # fmt: skip


def test_commands_on_records_know_it(
    guard: Guard, risky: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`report` counts by it; `replay` by a file with a rule, and says which rules no model behind the records needs."""
    store = tmp_path / "records.jsonl"
    with open_sink(store) as sink:
        decision = guard.with_policy(guard.policy, sinks=[sink]).check_prompt(risky.prompt)
    assert run(["report", str(store), "--json"]) == 0
    assert decision.category is not None
    assert decision.category in capsys.readouterr().out
    policy = with_rule(guard, decision, "allow")
    unknown = replace(
        policy.response, categories={**policy.response.categories, "Wether": CategoryRule(unsafe=Action.STOP)}
    )
    (tmp_path / "policy.toml").write_text(render_policy(replace(policy, response=unknown)), "utf-8")
    assert run(["replay", str(store), "--policy", str(tmp_path / "policy.toml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["categories"][decision.category]["before"] == 1
    assert told["directions"]["prompt"]["changes"]["no longer stopped"] == 1
    assert told["unknown_categories"] == ["Wether"]
    assert run(["replay", str(store), "--policy", str(tmp_path / "policy.toml")]) == 0
    assert "can name 'Wether'" in capsys.readouterr().out


def test_check_and_scan_name_it(
    folders: SimpleNamespace, risky: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands take the folder and say the category."""
    run(["check", "--model", str(folders.export), "--policy", "strict", "--json", risky.prompt])
    assert json.loads(capsys.readouterr().out)["category"] in OWN
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "1", "text": risky.prompt}) + "\n", "utf-8")
    scanned = ["scan", str(rows), "--out", str(tmp_path / "out"), "--model", str(folders.export)]
    assert run([*scanned, "--policy", "strict"]) == 0
    (result,) = map(json.loads, (tmp_path / "out" / "rows.jsonl").read_text("utf-8").splitlines())
    assert result["category"] in OWN
    assert tuple(result["category_probabilities"]) == PROMPTS.categories


def test_the_service_answers_with_own_names_beside_openais(guard: Guard, risky: SimpleNamespace) -> None:
    """Every one of OpenAI's keys is there and false; the own category is flagged and has the highest score."""
    import httpx

    with serving(guard=guard) as server:
        body = httpx.post(f"{server.url}/v1/moderations", json={"input": risky.prompt}).json()["results"][0]
    assert [*body["categories"]] == [*OPENAI_CATEGORIES, *PROMPTS.categories]
    (flagged,) = (name for name, value in body["categories"].items() if value)
    assert flagged == body["guardrail"]["category"]
    assert max(body["category_scores"], key=body["category_scores"].get) == flagged


def test_an_own_category_called_as_one_of_openais_flags_that_one() -> None:
    """It is one key, not two, and what leads to it besides still does."""
    assert flags("violence", ("violence", "Jailbreak")) == dict.fromkeys(OPENAI_CATEGORIES, False) | {
        "violence": True, "Jailbreak": False
    }  # fmt: skip
    assert flags("Violent", ("violence", "Violent"))["violence"]


def test_langchain_and_litellm_hand_it_on(guard: Guard, risky: SimpleNamespace) -> None:
    """The message that ends a cut stream names it, and so does what LiteLLM traces."""
    wrapped = GuardRunnable(guard).wrap(FakeListChatModel(responses=[risky.answer]))
    *_, last = wrapped.stream("hi")
    assert last.response_metadata["guardrail"]["category"] in OWN
    decision = guard.check_prompt(risky.prompt)
    assert tracing_of(decision)["violation_categories"] == [decision.category]


def test_rows_name_it_and_judges_answer_with_it(guard: Guard, risky: SimpleNamespace) -> None:
    """A labelled row may carry any category; the guard's judgement on it is told by the same name."""
    row = parse_row(
        {
            "id": "1", "source": "mine", "lang": "en", "messages": [{"role": "user", "content": risky.prompt}],
            "target": "prompt", "risk": "unsafe", "category": [OWN[2], "political"],
        }
    )  # fmt: skip
    assert row is not None
    assert row.categories == (OWN[2], "Politically Sensitive Topics")
    (judged,) = GuardJudge(guard).judge([row])
    assert judged.category in OWN
    assert judged.level is not RiskLevel.SAFE
