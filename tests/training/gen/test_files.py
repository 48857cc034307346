"""What a run can start from, and the files beside the weights."""

import json
import shutil
from pathlib import Path

import pytest

from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.generative.labels import check_template
from guardrail.training.gen.files import _write_tokenizer, chat_template, open_start
from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.settings import load_settings
from tests.generative.examples import TEMPLATE_FILE
from tests.generative.tiny_gen import hugging_face_tokenizer
from tests.tiny import write_tiny
from tests.training.gen.conftest import WriteConfig


def test_the_template_that_is_written_is_the_published_one() -> None:
    """Byte for byte, made from the texts of our prompts."""
    assert chat_template() == TEMPLATE_FILE.read_text("utf-8")


def test_a_start_without_the_guards_template_gets_it(tmp_path: Path, untaught: Path, config: WriteConfig) -> None:
    """A language model chats by another one, in either of two files; a guard's own files are left as they are."""
    folder = tmp_path / "plain"
    shutil.copytree(untaught, folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ 1 }}", "model_max_length": 9}))
    start = open_start(load_settings(config(start=str(folder)), SftGenSettings))
    (tmp_path / "out").mkdir()
    _write_tokenizer(start, tmp_path / "out")
    check_template(tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert kept == {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": 9}
    assert (start.is_guard, open_start(load_settings(config("guard"), SftGenSettings)).is_guard) == (False, True)
    rendered = hugging_face_tokenizer(tmp_path / "out").apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )
    assert "USER: hi\n\n<END CONVERSATION>" in rendered


def test_what_is_no_language_model_of_the_family_is_refused(tmp_path: Path, config: WriteConfig) -> None:
    """A Stream guard has heads in place of an output matrix."""
    write_tiny(tmp_path / "stream")
    with pytest.raises(ConfigurationError, match=r"is no Qwen3ForCausalLM .*train sft trains the Stream ones"):
        open_start(load_settings(config(start=str(tmp_path / "stream")), SftGenSettings))


def test_a_hub_id_that_cannot_be_reached_says_what_to_do(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline and not in the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"cannot be downloaded.*pass the folder"):
        open_start(load_settings(config(start="no-such/guard"), SftGenSettings))


def test_rows_longer_than_the_context_are_refused(config: WriteConfig) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigurationError, match="max_length = 4000 is longer than the context of 2048 tokens"):
        open_start(load_settings(config(max_length=4000), SftGenSettings))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, untaught: Path, config: WriteConfig) -> None:
    """More tokens than the embedding has rows."""
    folder = tmp_path / "small"
    shutil.copytree(untaught, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "vocab_size": 100}))
    with pytest.raises(CheckpointError, match="more tokens than the embedding"):
        open_start(load_settings(config(start=str(folder)), SftGenSettings))


def test_damaged_weights_are_said(tmp_path: Path, untaught: Path, config: WriteConfig) -> None:
    """Without a traceback."""
    folder = tmp_path / "damaged"
    shutil.copytree(untaught, folder)
    (folder / "model.safetensors").unlink()
    start = open_start(load_settings(config(start=str(folder)), SftGenSettings))
    with pytest.raises(ConfigurationError, match=r"cannot load .* as a language model"):
        start.model()
