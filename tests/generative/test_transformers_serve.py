"""A server that we did not write: `transformers serve`, with the taught model. It tells no log probabilities."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.conversation import Message, Role
from guardrail.evaluation.judge_settings import JudgeSettings
from guardrail.evaluation.opening import open_judge
from guardrail.evaluation.runner import run
from guardrail.generative.endpoint import Mode
from guardrail.generative.parsing import parse
from guardrail.guard import Guard
from guardrail.policy_file import load_policy
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Call
from guardrail.training.recipe.judging import judge
from guardrail.training.recipe.settings import ModelSettings
from tests.generative.conftest import Taught
from tests.generative.examples import EXAMPLES, Example
from tests.generative.test_gen_judge import ROWS, WRITTEN, said
from tests.generative.tiny_gen import hugging_face_tokenizer
from tests.transformers_serve import COMMAND, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND.exists(), reason="needs the command line of transformers"),
]


@pytest.fixture(scope="module")
def served(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The base URL of a running server, and the name of its model."""
    folder = tmp_path_factory.mktemp("served") / "gen"
    shutil.copytree(taught.folder, folder)
    hugging_face_tokenizer(folder).save_pretrained(folder)
    (folder / "generation_config.json").write_text('{"do_sample": true}')  # else it ignores the temperature
    with serving(folder) as url:
        yield f"{url}/v1", folder


@pytest.mark.parametrize("mode", ["completions", "chat"])
@pytest.mark.parametrize("example", EXAMPLES[:3] + EXAMPLES[6:9], ids=lambda e: e.written.replace("\n", "|"))
def test_verdicts_are_read_in_both_modes(served: tuple[str, Path], mode: Mode, example: Example) -> None:
    """The labels that the model was taught, marked as no measurement."""
    url, folder = served
    with Guard.generative(url, model=str(folder), mode=mode) as guard:
        if example.response is None:
            decision = guard.check_prompt(example.prompt)
        else:
            decision = guard.check_response(example.prompt, example.response)
    assert decision.failure is None
    assert decision.verdict is not None
    assert decision.verdict.is_scored is False
    assert example.written.startswith(f"Safety: {decision.risk}\nCategories: {decision.category}")


@pytest.mark.parametrize("mode", ["completions", "chat"])
def test_it_is_a_judge_of_evaluate(served: tuple[str, Path], mode: str) -> None:
    """Without log probabilities, the label that it names has all of it."""
    url, folder = served
    with open_judge(f"gen:{url}#{folder}?mode={mode}", JudgeSettings(load_policy("balanced"))) as judge:
        found = run(judge, ROWS).judgements
    assert [said(one) for one in found] == WRITTEN
    assert {one.score for one in found} == {0.0, 1.0}


async def test_the_recipe_asks_it_in_all_forms(served: tuple[str, Path], tmp_path: Path) -> None:
    """It gives one sample a request, whatever is asked for: the others are asked for one by one."""
    url, folder = served
    example, hi = EXAMPLES[2], (Message(Role.USER, EXAMPLES[2].prompt),)
    models = {"m": ModelSettings("endpoint", str(folder), base_urls=(url,), retries=0)}
    with CallCache(tmp_path / "calls.sqlite") as cache:
        async with open_asking(models, cache, Budget(), tmp_path) as ask:
            assert await judge(ask, "m", hi) == parse(example.written, is_response=False)
            chat = await ask(Call("m", messages=hi, max_tokens=16))
            assert chat.text == example.written  # its chat template is the guard's
            assert chat.n_input > 200
            drawn = Call("m", "completion", prompt="How do I", n=3, max_tokens=8, temperature=2.0)
            texts = (await ask(drawn)).texts
            assert len({text.text for text in texts}) > 1
            assert (await ask(drawn)).texts == texts
            assert (ask.tallies["m"].asked, ask.tallies["m"].cached) == (3, 1)
        async with open_asking(models, cache, Budget(max_calls=0), tmp_path) as ask:
            assert (await ask(drawn)).texts == texts
