"""How judges are named."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.errors import ConfigurationError
from guardrail.evaluation.judge_specs import KINDS, RESERVED, Spec, parse_specs


@pytest.mark.parametrize(
    ("text", "kind", "target", "name"),
    [
        ("default", "default", "", "default"),
        ("default?policy=strict&name=strict", "default", "", "strict"),
        ("onnx:Qwen/Qwen3Guard-Stream-0.6B", "onnx", "Qwen/Qwen3Guard-Stream-0.6B", "onnx:Qwen3Guard-Stream-0.6B"),
        ("torch:runs/sft/checkpoint", "torch", "runs/sft/checkpoint", "torch:checkpoint"),
        ("gen:http://h:1/v1#Qwen/Gen?mode=chat", "gen", "http://h:1/v1#Qwen/Gen", "gen:Gen"),
        ("cascade:default,torch:a/b", "cascade", "default,torch:a/b", "cascade:default,torch:b"),
        ("openai:https://h/v1#omni", "openai", "https://h/v1#omni", "openai:omni"),
        ("https://h/judge?batch=8", "http", "https://h/judge", "https://h/judge"),
        ("python:a.b:f", "python", "a.b:f", "python:a.b:f"),
        ("tfidf", "tfidf", "", "tfidf"),
    ],
)
def test_a_spec_is_a_kind_a_target_and_options(text: str, kind: str, target: str, name: str) -> None:
    """Its name in tables is short, or the one given."""
    spec = Spec.parse(text)
    assert (spec.kind, spec.target, spec.name) == (kind, target, name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onix:folder", "peer:NAME"),
        ("onnx", "onnx:SOURCE"),
        ("default:folder", "written default"),
        ("torch:folder?theads=1", "valid: name, policy, precision, revision, at_once"),
        ("torch:folder?precision", "NAME=VALUE"),
        ("default?name=a&name=b", "once"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(text: str, said: str) -> None:
    """An unknown kind lists all kinds, an unknown option those that there are."""
    with pytest.raises(ConfigurationError, match=said):
        Spec.parse(text)


def test_an_unknown_kind_lists_every_kind() -> None:
    """Each with what it means."""
    with pytest.raises(ConfigurationError) as caught:
        Spec.parse("onix")
    assert all(kind.meaning in str(caught.value) for kind in KINDS.values())


@given(st.text())
def test_any_text_is_a_spec_or_an_error(text: str) -> None:
    """Nothing else ever comes out."""
    with suppress(ConfigurationError):
        assert Spec.parse(text).kind in KINDS


@pytest.mark.parametrize(
    "text", ["gen:u#m?at_once=0", "gen:u#m?at_once=x", "gen:u#m?at_once=1.5", "gen:u#m?at_once=inf"]
)
def test_counts_are_positive_whole_numbers(text: str) -> None:
    """Others are refused with the option's name."""
    with pytest.raises(ConfigurationError, match="at_once"):
        Spec.parse(text).count("at_once", 8)


def test_judges_of_one_table_have_names_of_their_own() -> None:
    """Rows of equal name could not be told apart."""
    with pytest.raises(ConfigurationError, match="two judges are called 'default'"):
        parse_specs(["default", "default?policy=strict"])
    assert [spec.name for spec in parse_specs(["default", "default?policy=strict&name=s"])] == ["default", "s"]


@pytest.mark.parametrize("name", RESERVED)
def test_no_judge_takes_a_name_that_the_json_needs(name: str) -> None:
    """Its figures would be overwritten."""
    with pytest.raises(ConfigurationError, match="the JSON has that key"):
        parse_specs([f"default?name={name}"])
