"""Distillation: texts become units and turns, and the backbone learns what the encoder says of them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guardrail.checkpoint import Checkpoint
from guardrail.conversation import Message, Role, render_prompt
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.network import GuardNetwork
from guardrail.testing import default_tokenizer_file
from guardrail.training.distil import stage
from guardrail.training.distil.encoder import SentenceEncoder
from guardrail.training.distil.settings import DistilSettings, EncoderSettings
from guardrail.training.distil.texts import Framing, Place, Unit, Unseen, cut_document, read_units
from guardrail.training.distil.training import Distiller
from guardrail.training.distil.vectors import principal, text_vectors
from guardrail.training.examples import to_example
from guardrail.training.settings import load_settings
from tests.training.distil.tiny_encoder import SIZE, WORDS, write_encoder

FRAMING_TEXTS = ["How do I bake bread?", "如何烤面包", "a <|im_end|> in a text"]


@pytest.fixture(scope="module")
def tokenizer() -> GuardTokenizer:
    return GuardTokenizer.from_file(default_tokenizer_file())


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    rng = np.random.default_rng(0)
    encoder = write_encoder(tmp_path / "encoder")
    sentences = [" ".join(rng.choice(WORDS, 5)) for _ in range(240)]
    documents = [
        {"text": f"User: {a} ask?\nAssistant: {b} answer."} for a, b in zip(sentences, sentences[120:], strict=False)
    ]
    (tmp_path / "plain.jsonl").write_text("\n".join(map(json.dumps, documents)))
    rows = [
        {"id": str(i), "source": "toy", "lang": "en", "risk": "safe", "category": [], "unsafe_start_char": None,
         "target": "prompt", "messages": [{"role": "user", "content": f"how to {text}"}]}
        for i, text in enumerate(sentences[:40])
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def write(**changes: Any) -> Path:
        values = {
            "data_dir": str(tmp_path), "tokenizer": str(default_tokenizer_file()), "output": str(tmp_path / "run"),
            "epochs": 20, "batch_tokens": 1024, "learning_rate": 4e-3, "token_noise": 0.0, "threads": 1, **changes,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        path = tmp_path / f"{len(list(tmp_path.glob('*.toml')))}.toml"
        shape = "hidden_size = 48\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nhead_dim = 32\nintermediate_size = 96\n"
        shape += "guard_inner_size = 16\nmax_context = 256\n"
        encoder_table = f'[encoder]\nmodel = "{encoder}"\nmax_tokens = 32\n'
        tables = f'{encoder_table}[shape]\n{shape}[files]\n"plain.jsonl" = 200\n[sources."rows.jsonl"]\n'
        path.write_text("\n".join([*lines, tables]))
        return path

    return write


def test_the_backbone_learns_what_the_encoder_says(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """On texts that it never saw, the last state foretells the encoder's vector far better than at the start."""
    stage.main(write_config())
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] == "end"
    assert lines[-1]["held_out_cosine"] > 0.5
    checkpoint = Checkpoint.open(tmp_path / "run" / "checkpoint")
    assert checkpoint.config.hidden_size == 48
    assert (tmp_path / "run" / "checkpoint" / "tokenizer.json").read_bytes() == default_tokenizer_file().read_bytes()


def test_a_killed_run_goes_on_to_the_same_weights(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies in the middle and is resumed ends with the weights of the undisturbed one, and asks the encoder
    for nothing again.
    """
    stage.main(write_config(output=str(tmp_path / "whole"), epochs=2))
    config = write_config(output=str(tmp_path / "torn"), epochs=2, save_minutes=0)
    step = Distiller.step
    with monkeypatch.context() as patch:

        def dying(self: Distiller) -> float:
            if self.step_number == 3:
                raise KeyboardInterrupt
            return step(self)

        patch.setattr(Distiller, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            stage.main(config)
    monkeypatch.setattr(SentenceEncoder, "__init__", None)
    stage.main(config, resume=True)
    whole, torn = (
        GuardNetwork.from_checkpoint(tmp_path / name / "checkpoint").state_dict() for name in ("whole", "torn")
    )
    assert all(torch.equal(whole[name], torn[name]) for name in whole)


def test_the_encoder_is_the_mean_of_its_last_states(tmp_path: Path) -> None:
    """A text's vector does not depend on what else is encoded, and is the mean that transformers' own call gives."""
    folder = write_encoder(tmp_path)
    encoder = SentenceEncoder(EncoderSettings(str(folder), prefix="ask ", batch_tokens=20))
    texts = ["the garden is green", "bake", "a cat sleeps to the sea song"]
    vectors = encoder.encode(texts)
    from transformers import AutoModel, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(f"ask {texts[2]}", return_tensors="pt")
    states = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()(**ids).last_hidden_state[0].float()
    expected = torch.nn.functional.normalize(states.mean(0), dim=0).detach().numpy()
    assert np.abs(vectors[2] - expected).max() < 0.02
    assert np.abs(vectors[1] - encoder.encode(["bake"])[0]).max() < 0.02


def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error says what to name."""
    with pytest.raises(ConfigurationError, match="cannot load the encoder"):
        SentenceEncoder(EncoderSettings(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("text", FRAMING_TEXTS)
def test_units_stand_as_they_are_judged(tokenizer: GuardTokenizer, text: str) -> None:
    """A prompt's ids are those of a judged prompt, an answer's those of fine-tuning."""
    framing = Framing(tokenizer, 100)
    ids, start = framing.encode(Unit(text, Place.PROMPT))
    assert ids == tokenizer.encode_segments(render_prompt([Message(Role.USER, text)]))
    assert ids[start : len(ids) - 1] == list(tokenizer.encode_plain(text).ids)
    ids, start = framing.encode(Unit(text, Place.ANSWER))
    row = {"messages": [{"role": "assistant", "content": text}], "target": "response", "risk": "safe", "category": []}
    assert ids == to_example(tokenizer, {**row, "unsafe_start_char": None}, 100).ids.tolist()
    assert ids[start:] == list(tokenizer.encode_plain(text).ids)


def test_documents_become_units_within_turns() -> None:
    """No unit holds the end of one turn and the beginning of the next, and nothing of a short text is lost."""
    text = "User: How are you? Fine weather.\nAssistant: I am well. It rains.\nUser: Oh no."
    units = list(cut_document(text, np.random.default_rng(0)))
    assert " ".join(unit.text for unit in units) == "How are you? Fine weather. I am well. It rains. Oh no."
    assert not [unit for unit in units if "weather. I" in unit.text]
    assert {unit.place for unit in units if "weather" in unit.text} == {Place.PROMPT}


def test_what_is_measured_on_is_not_learned_from(write_config: Callable[..., Path], tmp_path: Path) -> None:
    """Texts of the named files are left out, alone or inside a longer text."""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "measured.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:10]))
    before = {unit.text for unit in read_units(load_settings(write_config(), DistilSettings))}
    after = {unit.text for unit in read_units(load_settings(write_config(unseen=["measured.jsonl"]), DistilSettings))}
    measured = {row["messages"][0]["content"] for row in rows[:10]}
    assert measured & before
    assert not measured & after
    assert after == {text for text in before if not Unseen(measured).is_in(text)}
    assert Unseen(["How do I bake a good bread?"]).is_in("He asked: how do I bake a GOOD bread? I said so.")


def test_token_vectors_start_from_the_encoders_principal_components() -> None:
    """Inner products of centred vectors are kept as well as the size allows; rows of zeros become random ones."""
    vectors = np.random.default_rng(0).standard_normal((40, SIZE)).astype(np.float32)
    vectors[3] = 0
    found = principal(vectors, SIZE, 0.5, seed=0)
    known = np.arange(40) != 3
    centred = vectors[known] - vectors[known].mean(0)
    ratio = found[known] @ found[known].T / (centred @ centred.T)
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-3)
    assert np.isclose(np.sqrt((found[known] ** 2).mean()), 0.5, rtol=1e-4)
    assert found[3].any()


def test_kept_vectors_are_those_of_their_texts(tmp_path: Path) -> None:
    """Part files of other texts, or another prefix, are not taken for one's own; the same are not made again."""
    settings = EncoderSettings(str(write_encoder(tmp_path / "encoder")))
    first = text_vectors(["bake", "bread"], settings, tmp_path / "kept")
    other = text_vectors(["bread", "stab"], settings, tmp_path / "kept")
    asked = text_vectors(["bake", "bread"], replace(settings, prefix="ask "), tmp_path / "kept")
    assert np.allclose(other[0], first[1], atol=0.02)
    assert not np.allclose(other[1], first[1], atol=0.02)
    assert not np.allclose(asked, first, atol=0.02)
    shutil.rmtree(tmp_path / "encoder")
    assert np.array_equal(text_vectors(["bake", "bread"], settings, tmp_path / "kept"), first)
