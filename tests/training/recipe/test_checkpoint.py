"""Language models that transformers runs here: the same call gives the same text, and nothing but the call decides."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

from guardrail.conversation import Message, Role
from guardrail.errors import CallRefused, ConfigurationError, EngineError
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.checkpoint import Checkpoint
from guardrail.training.recipe.settings import ModelSettings
from tests.generative.tiny_gen import hugging_face_tokenizer, write_gen

CHAT = """\
{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools: ' + m.content) }}{% endif %}\
<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

DRAWN = Call("m", "completion", prompt="How do I", max_tokens=12, temperature=1.0)


def write_lm(folder: Path, seed: int) -> None:
    """Write a random language model whose checkpoint recommends other ways of drawing."""
    write_gen(folder, seed=seed)
    tokenizer = hugging_face_tokenizer(folder)
    tokenizer.chat_template = CHAT
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    wishes = {"do_sample": True, "top_k": 1, "temperature": 0.01, "repetition_penalty": 3.0, "max_new_tokens": 3}
    (folder / "generation_config.json").write_text(json.dumps(wishes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint."""
    folder = tmp_path_factory.mktemp("lm") / "lm"
    write_lm(folder, 1)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Checkpoint]:
    """That model."""
    model = Checkpoint(ModelSettings("checkpoint", str(folder)))
    yield model
    asyncio.run(model.close())


async def ask(model: Checkpoint, call: Call) -> Reply:
    return await model.ask(call, call.key("x"))


def greedy(model: Checkpoint, prompt: str, n: int) -> list[int]:
    """The ids that the most probable token at each place gives."""
    ids = model._tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for _ in range(n):
        with torch.inference_mode():
            ids = [*ids, int(model._model(torch.tensor([ids])).logits[0, -1].argmax())]
    return list(ids[-n:])


async def test_a_greedy_call_takes_the_most_probable_tokens(model: Checkpoint) -> None:
    """Whatever the checkpoint recommends; tokens are counted, and what was cut is said to be."""
    reply = await ask(model, replace(DRAWN, temperature=0.0))
    assert reply.text == model._tokenizer.decode(greedy(model, DRAWN.prompt, 12))
    assert reply.texts[0].is_cut
    assert reply.n_input == len(model._tokenizer(DRAWN.prompt)["input_ids"])
    assert reply.n_output == 12


async def test_the_same_call_gives_the_same_text(model: Checkpoint) -> None:
    """Whatever else was drawn in the meantime; another sample is another text."""
    first = await ask(model, DRAWN)
    other = await ask(model, replace(DRAWN, sample=1))
    torch.rand(7)
    assert await ask(model, DRAWN) == first
    assert other.text != first.text


async def test_what_others_draw_stays_as_it_is(model: Checkpoint) -> None:
    """The random numbers of the process are not ours."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    await ask(model, DRAWN)
    assert torch.equal(torch.rand(3), expected)


async def test_models_side_by_side_do_not_disturb_each_other(model: Checkpoint, tmp_path: Path) -> None:
    """Each draws what it would draw alone."""
    write_lm(tmp_path / "other", 2)
    other = Checkpoint(ModelSettings("checkpoint", str(tmp_path / "other")))
    calls = [replace(DRAWN, sample=i) for i in range(6)]
    alone = [[await ask(one, call) for call in calls] for one in (model, other)]
    together = [await asyncio.gather(*(ask(one, call) for call in calls)) for one in (model,)]
    both = await asyncio.gather(*(ask(one, call) for call in calls for one in (model, other)))
    await other.close()
    assert together[0] == alone[0]
    assert [both[0::2], both[1::2]] == alone


async def test_several_samples_come_in_one_call(model: Checkpoint) -> None:
    """Drawn ones differ, greedy ones are the same and written once."""
    drawn = await ask(model, replace(DRAWN, n=4))
    assert len({text.text for text in drawn.texts}) == 4
    assert (await ask(model, replace(DRAWN, n=4))) == drawn
    same = await ask(model, replace(DRAWN, n=4, temperature=0.0))
    assert len(same.texts) == 4
    assert (len({text.text for text in same.texts}), same.n_output) == (1, 12)


async def test_a_share_of_the_probable_tokens_is_drawn_from(model: Checkpoint) -> None:
    """Hardly any of them: as good as greedy."""
    narrow = await ask(model, replace(DRAWN, top_p=1e-6))
    assert narrow.text == (await ask(model, replace(DRAWN, temperature=0.0))).text


async def test_a_stop_text_ends_a_sample(model: Checkpoint) -> None:
    """It is no part of it, and what would follow is not written."""
    whole = await ask(model, replace(DRAWN, temperature=0.0))
    stop = whole.text[5:8]
    place = whole.text.index(stop)
    reply = await ask(model, replace(DRAWN, temperature=0.0, stop=(stop,)))
    assert (reply.text, reply.texts[0].is_cut) == (whole.text[:place], False)
    assert reply.n_output < whole.n_output


async def test_each_sample_has_its_own_end(model: Checkpoint) -> None:
    """One that stops early does not cut the others; the key alone decides what is drawn."""
    call, key = replace(DRAWN, n=4), bytes(32)
    whole = (await model.ask(call, key)).texts
    stop = whole[2].text[3:6]
    found = (await model.ask(replace(call, stop=(stop,)), key)).texts
    assert [one.text for one in found] == [one.text.partition(stop)[0] for one in whole]
    assert [one.is_cut for one in found] == [stop not in one.text for one in whole]


async def test_a_chat_is_rendered_by_the_template(model: Checkpoint) -> None:
    """Up to where the assistant begins, or goes on."""
    asked = (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"))
    head = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    for messages, prompt in ((asked, head), ((*asked, Message(Role.ASSISTANT, "Ho, I")), f"{head}Ho, I")):
        reply = await ask(model, Call("m", messages=messages, max_tokens=4))
        written = model._tokenizer.decode(greedy(model, prompt, 4), skip_special_tokens=True)
        assert reply.text == written
        assert reply.n_input == len(model._tokenizer(prompt, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize(
    "call",
    [
        Call("m", messages=(Message(Role.TOOL, "secret"),)),
        Call("m", "completion", prompt="so " * 3000),
        replace(DRAWN, max_tokens=2048),
        Call("m", "completion", prompt=""),
    ],
)
async def test_what_cannot_be_asked_is_refused(model: Checkpoint, call: Call) -> None:
    """A role that the template does not know, a text beyond the context, nothing at all: without a word of it."""
    with pytest.raises(CallRefused) as raised:
        await ask(model, call)
    assert "secret" not in str(raised.value)


async def test_a_text_that_cannot_be_encoded_is_read_all_the_same(model: Checkpoint) -> None:
    """Lone surrogates come in scraped text."""
    assert (await ask(model, replace(DRAWN, prompt="a\ud800b"))).n_output == 12


async def test_a_model_without_a_template_does_not_chat(folder: Path, tmp_path: Path) -> None:
    """It is not asked in a form of our own."""
    copytree(folder, tmp_path / "lm")
    (tmp_path / "lm" / "chat_template.jinja").unlink()
    model = Checkpoint(ModelSettings("checkpoint", str(tmp_path / "lm")))
    with pytest.raises(ConfigurationError, match="no chat template"):
        await ask(model, Call("m", messages=(Message(Role.USER, "Hi"),)))
    await model.close()


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="as a language model"):
        Checkpoint(ModelSettings("checkpoint", str(tmp_path)))


async def test_closing_ends_what_is_being_written(folder: Path) -> None:
    """Nobody waits for a thousand tokens; half an answer is none."""
    model = Checkpoint(ModelSettings("checkpoint", str(folder)))
    endless: Any = replace(DRAWN, max_tokens=1900, temperature=0.0)
    model._end_ids = list  # type: ignore[method-assign]  # so that it never ends by itself
    steps: list[int] = []
    has_begun = threading.Event()
    model._model.register_forward_hook(lambda *_: steps.append(1))
    model._model.register_forward_hook(lambda *_: has_begun.set())
    task = asyncio.create_task(ask(model, endless))
    assert await asyncio.to_thread(has_begun.wait, 60)
    await model.close()
    with pytest.raises(EngineError, match="closed"):
        await task
    assert len(steps) < endless.max_tokens
