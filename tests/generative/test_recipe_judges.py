"""A Gen model as a judge of the recipe, wherever it runs."""

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from guardrail.conversation import Message, Role
from guardrail.generative.parsing import parse
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.settings import ModelSettings
from tests.generative.conftest import Taught
from tests.generative.examples import EXAMPLES, Example
from tests.generative.gen_server import GenServer
from tests.generative.tiny_gen import hugging_face_tokenizer


def messages_of(example: Example) -> tuple[Message, ...]:
    answer = () if example.response is None else (Message(Role.ASSISTANT, example.response),)
    return (Message(Role.USER, example.prompt), *answer)


@pytest.mark.parametrize("kind", ["endpoint", "checkpoint", "guard"])
async def test_a_gen_model_judges_alike_wherever_it_runs(
    taught: Taught, server: GenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """Behind a server, under transformers, and exported: what it was taught."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "gen"
    copytree(taught.folder, folder)
    if kind == "checkpoint":
        hugging_face_tokenizer(folder).save_pretrained(folder)
    settings = ModelSettings(kind, str(folder), base_urls=(server.url,))
    with CallCache(tmp_path / "c") as cache:
        async with open_asking({"g": settings}, cache, Budget(), tmp_path) as ask:
            for example in EXAMPLES:
                found = await judge(ask, "g", messages_of(example))
                assert found == parse(example.written, is_response=example.response is not None)
