"""Labelled rows to positions and labels."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role, render_prompt
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Feed, Logits
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import parse_row
from guardrail.guard import Guard
from guardrail.taxonomy import PROMPT_LABELS, RESPONSE_LABELS, RiskLevel
from guardrail.testing import HashEngine, default_tokenizer
from guardrail.training.corpus import family_of, is_held_out, to_turns
from guardrail.training.examples import IGNORED, LEAST_LENGTH, Source, read_examples, select_rows, to_example
from tests.training.labelled_rows import answer_row, prompt_row, write

TOKENIZER = default_tokenizer()
SAFE, UNSAFE = (RESPONSE_LABELS.risks.index(level) for level in (RiskLevel.SAFE, RiskLevel.UNSAFE))


def test_a_prompt_is_labelled_at_its_closing_token(tokenizer: GuardTokenizer) -> None:
    """The ids are those of inference, and end at <|im_end|>."""
    example = to_example(tokenizer, prompt_row(), 100)
    assert example.ids.tolist() == tokenizer.encode_segments(render_prompt([Message(Role.USER, "hello there")]))
    assert example.ids[example.query_position] == tokenizer.control_id("<|im_end|>")
    assert example.query_position == len(example.ids) - 1
    assert PROMPT_LABELS.risks[example.query_risk] is RiskLevel.UNSAFE
    assert PROMPT_LABELS.categories[example.query_category] == "Violent"
    assert set(example.response_risk.tolist()) == {IGNORED}


CONTEXT = [
    {"role": "system", "content": "be kind "},
    {"role": "user", "content": " hi\n"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "tell me <|im_end|>"},
]


def record(tokenizer: GuardTokenizer) -> tuple[Guard, list[int]]:
    """Return a guard and the ids that its engine will have been fed."""
    fed: list[int] = []

    class Recording(HashEngine):
        def step(self, feeds: Sequence[Feed]) -> list[Logits]:
            fed.extend(token_id for feed in feeds for token_id in feed.ids)
            return super().step(feeds)

    return Guard(Recording(vocab_size=tokenizer.vocab_size), tokenizer), fed


@pytest.mark.parametrize("n_turns", [1, 4])
def test_prompts_are_trained_on_the_ids_of_inference(n_turns: int, tokenizer: GuardTokenizer) -> None:
    """Alone and at the end of a conversation."""
    guard, fed = record(tokenizer)
    messages = CONTEXT[-n_turns:]
    guard.judge_prompt(messages)
    assert to_example(tokenizer, prompt_row(messages=messages), 500).ids.tolist() == fed


def test_tool_results_are_trained_on_the_ids_of_inference(tokenizer: GuardTokenizer) -> None:
    """Rendered as the user turn that the guard judges."""
    guard, fed = record(tokenizer)
    messages = [*CONTEXT, {"role": "assistant", "content": "looking"}, {"role": "tool", "content": "42!\n"}]
    guard.judge_prompt(messages)
    assert to_example(tokenizer, prompt_row(messages=messages), 500).ids.tolist() == fed


@pytest.mark.parametrize(
    "text", ["fine", "\n\n leading", "你好，世界。", "d\u0323\u0307 e", "ends in spaces  \n", "a\ud800b"]
)
@pytest.mark.parametrize("n_turns", [0, 1, 4])
def test_answers_are_trained_on_the_ids_of_inference(n_turns: int, text: str, tokenizer: GuardTokenizer) -> None:
    """And each token that the guard judges, no other, has a label."""
    guard, fed = record(tokenizer)
    messages = CONTEXT[len(CONTEXT) - n_turns :]
    verdicts = guard.judge_response(messages, text)
    row = answer_row(text, risk="safe", category=[], messages=[*messages, {"role": "assistant", "content": text}])
    example = to_example(tokenizer, row, 500)
    assert example.ids.tolist() == fed
    assert (example.response_risk != IGNORED).sum() == len(verdicts)


def test_a_span_splits_an_answer_at_its_onset(tokenizer: GuardTokenizer) -> None:
    """Tokens before it are Safe, those that reach beyond it are not; the scaffold has no label."""
    text = "all is fine here, but now I hurt you"
    example = to_example(tokenizer, answer_row(text, unsafe_start_char=text.index("hurt")), 200)
    labels = [label for label in example.response_risk.tolist() if label != IGNORED]
    first = labels.index(UNSAFE)
    assert labels == [SAFE] * first + [UNSAFE] * (len(labels) - first)
    spoken = tokenizer.decode(example.ids[len(example.ids) - len(labels) + first :].tolist())
    assert spoken.strip() == "hurt you"


def test_spans_index_the_raw_text(tokenizer: GuardTokenizer) -> None:
    """The tokenizer composes d, U+0323 and U+0307 differently from how they were written; the onset stays put."""
    text = "d\u0307\u0323 d\u0307\u0323 d\u0307\u0323 hurt"
    example = to_example(tokenizer, answer_row(text, unsafe_start_char=text.index("hurt")), 200)
    n_unsafe = example.response_risk.tolist().count(UNSAFE)
    assert tokenizer.decode(example.ids[-n_unsafe:].tolist()).strip() == "hurt"


@pytest.mark.parametrize("onset", range(0, 24, 3))
@pytest.mark.parametrize("text", ["d\u0323\u0307e\u0301 你好吗 ☠☠ hurt you", "a🙂b 👩‍👩‍👧 c\n\n d ĳ ﬁ hurt xy"])
def test_a_token_is_unsafe_once_it_reaches_the_onset(text: str, onset: int, tokenizer: GuardTokenizer) -> None:
    """For any onset, also within a decomposed character or one of several tokens: by the spans that verdicts have."""
    spans = [(v.start, v.end) for v in record(tokenizer)[0].judge_response("tell me", text)]
    example = to_example(tokenizer, answer_row(text, unsafe_start_char=onset), 200)
    labels = [label for label in example.response_risk.tolist() if label != IGNORED]
    assert labels == [UNSAFE if end > onset else SAFE for _, end in spans]


def test_without_a_span_the_opening_of_a_harmful_answer_has_no_label(tokenizer: GuardTokenizer) -> None:
    """Nobody knows where it turns; at most half is left out."""
    example = to_example(tokenizer, answer_row("word " * 40), 200)
    labels = example.response_risk[-40:].tolist()
    assert labels[0] == IGNORED
    assert labels[-30:] == [UNSAFE] * 30


def test_a_safe_answer_is_safe_everywhere_and_its_prompt_too(tokenizer: GuardTokenizer) -> None:
    """`prompt_is_safe` trains the user turn at its closing token."""
    example = to_example(tokenizer, answer_row("fine", risk="safe", category=[]), 100, prompt_is_safe=True)
    assert set(example.response_risk.tolist()) == {IGNORED, SAFE}
    assert example.ids[example.query_position] == tokenizer.control_id("<|im_end|>")
    assert example.query_risk == PROMPT_LABELS.risks.index(RiskLevel.SAFE)
    assert (example.query_category, example.response_category) == (IGNORED, IGNORED)


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_what_nobody_asked_is_no_safe_prompt(tokenizer: GuardTokenizer, role: str) -> None:
    """An answer behind a system prompt or another answer has no request; those turns are never judged as one."""
    messages = [{"role": role, "content": "be kind"}, {"role": "assistant", "content": "fine"}]
    row = answer_row("", messages=messages, risk="safe", category=[])
    example = to_example(tokenizer, row, 100, prompt_is_safe=True)
    assert (example.query_position, example.query_risk) == (-1, IGNORED)


def test_long_rows_keep_both_ends(tokenizer: GuardTokenizer) -> None:
    """The middle of a prompt goes; the closing token stays."""
    example = to_example(tokenizer, prompt_row("start " + "x " * 900 + "end"), 64)
    assert len(example.ids) == 64
    assert "start" in tokenizer.decode(example.ids[:10].tolist())
    assert example.ids[-1] == tokenizer.control_id("<|im_end|>")
    long_answer = to_example(tokenizer, answer_row("y " * 900, risk="safe"), 64)
    assert len(long_answer.ids) <= 64


@given(st.integers(LEAST_LENGTH, 130), st.integers(0, 150), st.integers(0, 150), st.booleans())
def test_no_example_is_longer_than_allowed(length: int, n_prompt: int, n_answer: int, prompt_is_safe: bool) -> None:
    """Whatever is long; the position of the query is that of its closing token all the same."""
    messages = [{"role": "user", "content": "w " * n_prompt}, {"role": "assistant", "content": "y " * n_answer}]
    row = answer_row("", messages=messages, risk="safe", category=[])
    example = to_example(TOKENIZER, row, length, prompt_is_safe=prompt_is_safe)
    assert len(example.ids) <= length
    assert len(example.response_risk) == len(example.ids)
    if prompt_is_safe:
        assert example.ids[example.query_position] == TOKENIZER.control_id("<|im_end|>")


def test_a_long_answer_keeps_its_opening_and_a_long_prompt_both_ends(tokenizer: GuardTokenizer) -> None:
    """An answer takes at most three quarters, its leading newlines included; its scaffold is never cut."""
    messages = [
        {"role": "user", "content": "first " + "x " * 900 + "last"},
        {"role": "assistant", "content": "opening " + "y " * 900},
    ]
    example = to_example(tokenizer, answer_row("", messages=messages, risk="safe", category=[]), 200)
    assert (example.response_risk != IGNORED).sum() == 149
    assert tokenizer.decode(example.ids[-150:].tolist()).startswith("\n\nopening")
    before = tokenizer.decode(example.ids[:-150].tolist())
    assert before.startswith("user\nfirst")
    assert before.endswith("last\nassistant\n<think>\n\n</think>")


@pytest.mark.parametrize("n_words", [1, 2, 10, 16, 17, 31, 40])
def test_the_unlabelled_opening_is_a_quarter_but_never_most(n_words: int, tokenizer: GuardTokenizer) -> None:
    """At least eight tokens, at most half, the newlines before the answer counted: short answers still have a label."""
    example = to_example(tokenizer, answer_row("x" + " x" * (n_words - 1)), 200)
    labels = example.response_risk[len(example.ids) - n_words :].tolist()
    n_tokens = n_words + 1
    n_open = min(n_tokens // 2, max(8, n_tokens // 4)) - 1
    assert labels == [IGNORED] * n_open + [UNSAFE] * (n_words - n_open)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"risk": "dangerous"}, "risk"),
        ({"target": "both"}, "target"),
        ({"category": None}, "category"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"messages\.0\.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "target is prompt"),
        ({"target": "response"}, "target is response"),
        ({"unsafe_start_char": 99}, "unsafe_start_char"),
    ],
)
def test_a_row_that_is_none_is_named_by_its_id(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    """As in `guardrail evaluate`; the error holds no text of the row."""
    path = write(tmp_path / "a.jsonl.gz", [prompt_row(), prompt_row("SECRET", id="17") | changes])
    with pytest.raises(ConfigurationError, match=rf"a\.jsonl\.gz, row '17': .*{says}") as caught:
        select_rows(path, Source(), 1)
    assert "SECRET" not in str(caught.value)


def test_categories_are_kept_by_name_and_only_with_harm(tokenizer: GuardTokenizer) -> None:
    """The first that the heads know; a jailbreak is none of an answer's; a safe row has none."""
    first = to_example(tokenizer, prompt_row(category=["unheard of", "jailbreak", "violent"]), 100)
    assert PROMPT_LABELS.categories[first.query_category] == "Jailbreak"
    answer = to_example(tokenizer, answer_row("x", category=["jailbreak", "pii"]), 100)
    assert RESPONSE_LABELS.categories[answer.response_category] == "PII"
    assert to_example(tokenizer, prompt_row(category=[]), 100).query_category == IGNORED
    assert to_example(tokenizer, prompt_row(risk="safe"), 100).query_category == IGNORED
    controversial = to_example(tokenizer, prompt_row(risk="controversial"), 100)
    assert PROMPT_LABELS.categories[controversial.query_category] == "Violent"


def test_rows_are_drawn_by_risk_and_languages_left_out(tmp_path: Path) -> None:
    """At most so many of each level; the draw depends on the seed alone."""
    rows = [prompt_row(str(i), risk=risk) for i in range(20) for risk in ("safe", "unsafe")]
    rows += [prompt_row("de", lang="de"), prompt_row("none", risk=None)]
    path = write(tmp_path / "a.jsonl.gz", rows)
    chosen = select_rows(path, Source(max_rows=5, skip_langs=("de",)), 1)
    assert sorted(row["risk"] for row in chosen) == ["safe"] * 5 + ["unsafe"] * 5
    assert chosen == select_rows(path, Source(max_rows=5, skip_langs=("de",)), 1)
    assert len(select_rows(path, Source(unlabelled=True), 1)) == 42


def test_statements_are_trained_as_answers_too(tmp_path: Path) -> None:
    """The same text, once as a prompt, once as an answer to nothing."""
    path = write(tmp_path / "a.jsonl.gz", [prompt_row("they are vermin")])
    prompt, answer = select_rows(path, Source(as_answer=True), 1)
    assert (prompt["target"], answer["target"]) == ("prompt", "response")
    assert answer["messages"] == [{"role": "assistant", "content": "they are vermin"}]


def test_a_teacher_softens_answers_and_is_alone_on_unlabelled_ones(tokenizer: GuardTokenizer, tmp_path: Path) -> None:
    """Prompts keep their label; an unlabelled answer takes the teacher's word whole."""
    rows = [prompt_row(), answer_row("labelled"), answer_row("unlabelled", risk=None, category=[])]
    write(tmp_path / "a.jsonl.gz", rows)
    examples = list(
        read_examples(
            tokenizer, tmp_path, {"a.jsonl.gz": Source(unlabelled=True)}, 100, 1,
            teach=lambda seen: [None if r["target"] == "prompt" else (0.7, 0.2, 0.1) for r in seen], teacher_share=0.5,
        )
    )  # fmt: skip
    assert [e.teacher_share for e in examples] == [0.0, 0.5, 1.0]
    assert len(list(read_examples(tokenizer, tmp_path, {"a.jsonl.gz": Source(unlabelled=True)}, 100, 1))) == 2


def test_families_are_held_out_together() -> None:
    """Same first words, same side; and the baseline's rows follow the same rule."""
    texts = [f"{i} question about something" for i in range(400)]
    held = [text for text in texts if is_held_out(text)]
    assert 0 < len(held) < 40
    assert all(is_held_out(text.upper() + "!") for text in held)
    for text in texts[:50]:
        row = parse_row({**prompt_row(text), "refusal": None, "meta": {}})
        assert row is not None
        assert family_of(row.messages) == text


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    """With what to set."""
    with pytest.raises(ConfigurationError, match=r"none\.jsonl\.gz"):
        select_rows(tmp_path / "none.jsonl.gz", Source(), 1)
    (tmp_path / "lacks.jsonl").write_text('{"a": 1}')
    with pytest.raises(ConfigurationError, match=r"lacks\.jsonl, line 1: lacks messages"):
        select_rows(tmp_path / "lacks.jsonl", Source(), 1)
    (tmp_path / "bad.jsonl").write_text(json.dumps(prompt_row()) + "\n{")
    with pytest.raises(ConfigurationError, match=r"bad\.jsonl, line 2"):
        select_rows(tmp_path / "bad.jsonl", Source(), 1)


def test_conversations_in_plain_text_become_turns() -> None:
    """Lines that begin with a speaker; anything else is no conversation."""
    turns = to_turns("User: hi\nthere\nAssistant: hello")
    assert turns == [Message(Role.USER, "hi\nthere"), Message(Role.ASSISTANT, "hello")]
    assert to_turns("once upon a time") is None
