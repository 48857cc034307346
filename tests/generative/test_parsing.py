"""What the model wrote is read to the letter; whatever else it wrote is a failure, and never safe."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import UnparsableVerdict
from guardrail.generative.parsing import label_scores, parse, to_verdict
from guardrail.taxonomy import Category, RiskLevel

SAFE, CONTROVERSIAL, UNSAFE = RiskLevel.SAFE, RiskLevel.CONTROVERSIAL, RiskLevel.UNSAFE


def test_both_forms_are_read() -> None:
    """Two lines of a prompt, three of a response; blank lines around them are nothing."""
    assert parse("Safety: Safe\nCategories: None\n", is_response=False).risk is SAFE
    answer = parse("\nSafety: Unsafe\nCategories: PII, Violent\nRefusal: No", is_response=True)
    assert (answer.risk, answer.categories, answer.refusal) == (UNSAFE, ("PII", "Violent"), False)


@pytest.mark.parametrize(
    ("text", "is_response"),
    [
        ("", False),
        ("Safety: Safe", False),
        ("Categories: None", False),
        ("safety: safe\ncategories: none", False),
        ("Safety: Safe\nCategories: None\nRefusal: No", False),
        ("Safety: Safe\nCategories: None", True),
        ("Safety: Safe\nCategories: None\nRefusal: Maybe", True),
        ("Safety: Harmless\nCategories: None", False),
        ("Safety: Unsafe\nCategories: Evil", False),
        ("Safety: Unsafe\nCategories: Jailbreak\nRefusal: No", True),
        ("Safety: Unsafe\nCategories: violent", False),
        ("Safety: Unsafe\nCategories: None", False),
        ("Safety: Safe\nCategories: Violent", False),
        ("Safety: Unsafe\nCategories: Violent,PII", False),
        ("Sure! Safety: Safe\nCategories: None", False),
        ("Safety: Safe\nCategories: None\nI am glad to help.", False),
        ("Safety: Safe\n\nCategories: None", False),
        ("I cannot help with that.", False),
    ],
)
def test_everything_else_is_a_failure(text: str, is_response: bool) -> None:
    """Unknown words, other text, a missing line, a category that its task does not have, lines that contradict."""
    with pytest.raises(UnparsableVerdict):
        parse(text, is_response=is_response)


@given(text=st.text() | st.text(alphabet="Safety: Unsafe\nCategories: NoneRefusal: Yes,PII"), is_response=st.booleans())
def test_no_text_but_the_exact_one_is_ever_safe(text: str, is_response: bool) -> None:
    """Whatever a model writes: a failure, or one of the forms."""
    try:
        answer = parse(text, is_response=is_response)
    except UnparsableVerdict:
        return
    if answer.risk is SAFE:
        assert text.strip().startswith("Safety: Safe\nCategories: None")


def test_without_scores_the_named_label_has_all_the_probability_and_says_so() -> None:
    """Records can tell such a verdict from a measured one."""
    verdict = to_verdict(parse("Safety: Unsafe\nCategories: PII, Violent", is_response=False), None)
    assert (verdict.probability(UNSAFE), verdict.non_safe_probability, verdict.is_scored) == (1.0, 1.0, False)
    assert verdict.category == "PII"
    assert verdict.category_probabilities["Violent"] == pytest.approx(1 / 3)
    assert verdict.refusal is None


def test_scores_are_shared_among_the_labels_that_are_found() -> None:
    """Whatever else the model might have written there is left out."""
    candidates = {" Safe": log(0.6), " Unsafe": log(0.1), " Cont": log(0.1), "\n": log(0.2)}
    scores = label_scores(["Safety", ":", " Safe"], [{}, {}, candidates])
    assert scores is not None
    assert [scores[level] for level in (SAFE, UNSAFE, CONTROVERSIAL)] == pytest.approx([0.75, 0.125, 0.125])
    verdict = to_verdict(parse("Safety: Safe\nCategories: None\nRefusal: Yes", is_response=True), scores)
    assert verdict.non_safe_probability == pytest.approx(0.25)
    assert (verdict.is_scored, verdict.refusal) == (True, True)


@pytest.mark.parametrize(
    ("tokens", "candidates"),
    [
        ([], []),
        (["Safety", ":"], [{}, {}]),
        (["Safety", ": Safe"], [{}, {": Safe": 0.0}]),
        (["Safety", ":", " Safe"], [{}, {}]),
        (["Safety", ":", " Safe"], [{}, {}, {}]),
        (["Safety", ":", " "], [{}, {}, {" ": 0.0}]),
    ],
)
def test_a_label_that_cannot_be_found_has_no_scores(tokens: list[str], candidates: list[dict[str, float]]) -> None:
    """Other tokenizers, or servers that tell less."""
    assert label_scores(tokens, candidates) is None


def test_the_vocabularys_own_spelling_of_a_space_is_understood() -> None:
    """Some servers show tokens as they stand in the vocabulary."""
    assert label_scores(["Safety", ":", "\u0120Unsafe"], [{}, {}, {"\u0120Unsafe": 0.0}]) == {
        SAFE: 0.0, UNSAFE: 1.0, CONTROVERSIAL: 0.0,
    }  # fmt: skip


def test_a_label_that_is_not_the_most_probable_one_is_no_verdict() -> None:
    """A server that samples may write Safe where the model thinks otherwise."""
    answer = parse("Safety: Safe\nCategories: None", is_response=False)
    with pytest.raises(UnparsableVerdict, match="greedily"):
        to_verdict(answer, {SAFE: 0.4, UNSAFE: 0.6, CONTROVERSIAL: 0.0})


@pytest.mark.parametrize("category", Category)
def test_every_category_is_read_by_its_name(category: Category) -> None:
    """The names of the prompt are the canonical ones."""
    written = f"Safety: Controversial\nCategories: {category.value}"
    assert to_verdict(parse(written, is_response=False), None).category == category.value
