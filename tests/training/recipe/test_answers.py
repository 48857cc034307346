"""Answers as JSON: read where they follow the schema, asked for once more with the error, then given up."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused
from guardrail.training.recipe.answers import ask_json
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.settings import ModelSettings
from tests.generative.gen_server import ScriptedServer, replying


class Found(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")
    risk: str
    n: int


CALL = Call("m", messages=(Message(Role.USER, "Judge this."),))
GOOD = '{"risk": "Safe", "n": 3}'


class Scripted:
    """Answers in order, and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.calls = [*texts], list[Call]()

    async def __call__(self, call: Call) -> Reply:
        """Answer the next call."""
        self.calls.append(call)
        return Reply((Text(self.texts.pop(0)),))


@pytest.mark.parametrize(
    "text", [GOOD, f"```json\n{GOOD}\n```", f"Here you are: {GOOD} I hope it helps.", f"\n {GOOD}"]
)
async def test_json_is_found_in_what_models_put_around_it(text: str) -> None:
    """Fences and polite words; it is asked for with its schema, once."""
    ask = Scripted(text)
    assert await ask_json(ask, CALL, Found) == Found(risk="Safe", n=3)
    assert [call.schema for call in ask.calls] == [Found.model_json_schema()]


@pytest.mark.parametrize("text", ["", "no", "{", '{"risk": "Safe"}', '{"risk": 1, "n": 3}', f"{GOOD}{GOOD}", "[]"])
async def test_what_is_none_is_asked_for_once_more(text: str) -> None:
    """In the same conversation, with what was wrong; then it is given up."""
    ask = Scripted(text, GOOD)
    assert await ask_json(ask, CALL, Found) == Found(risk="Safe", n=3)
    again = ask.calls[1].messages
    assert again[:2] == (*CALL.messages, Message(Role.ASSISTANT, text))
    assert "JSON" in again[2].content
    assert await ask_json(Scripted(text, text), CALL, Found) is None


async def test_the_error_names_the_field() -> None:
    """So that a model can mend it."""
    ask = Scripted('{"risk": "Safe", "n": "many"}', GOOD)
    await ask_json(ask, CALL, Found)
    assert "n: " in ask.calls[1].messages[2].content


async def test_a_refusal_is_no_answer() -> None:
    """It flies, for the stage to count."""

    async def refuse(call: Call) -> Reply:
        raise CallRefused("never")

    with pytest.raises(CallRefused):
        await ask_json(refuse, CALL, Found)


async def test_a_second_run_asks_neither_question_again(tmp_path: Path) -> None:
    """Both are in the cache: over a real server, with its schema."""
    plays = (
        replying({"choices": [{"message": {"content": "hm"}}]}),
        replying({"choices": [{"message": {"content": GOOD}}]}),
    )
    with ScriptedServer(*plays) as server, CallCache(tmp_path / "c") as cache:
        models = {"m": ModelSettings("endpoint", "qwen", base_urls=(server.url,))}
        for _ in range(2):
            async with open_asking(models, cache, Budget(), tmp_path) as ask:
                assert await ask_json(ask, CALL, Found) == Found(risk="Safe", n=3)
        assert len(server.asked) == 2
        sent = server.asked[0][1]["response_format"]["json_schema"]["schema"]
        assert sent == Found.model_json_schema()
