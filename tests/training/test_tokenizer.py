"""The tokenizer stage: the same file each time, with Qwen's rules."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from guardrail.conversation import CONTROL_TOKENS
from guardrail.encoding import GuardTokenizer
from guardrail.training import tokenizer as stage
from guardrail.training.tokenizer import ADDED, SPECIAL, train_tokenizer

TEXTS = [
    "the guard reads every token that the model writes, and holds it back " * 5,
    "Der Wächter liest mit. Le gardien lit tout. Страж читает всё. " * 5,
    "你好，世界。今天天气很好。孩子们在湖边放风筝。" * 5,
    "สวัสดีครับ วันนี้อากาศดีมาก " * 5,
    "x = 2024\n\n\ty == 'it''s' # don't\r\n" * 5,
]
MADE = train_tokenizer(TEXTS, 420)


@pytest.fixture(scope="module")
def made() -> GuardTokenizer:
    return GuardTokenizer(MADE)


def test_another_process_learns_the_same_bytes(tmp_path: Path) -> None:
    """By the stage's own entry point, with another seed of hashes and other threads; ties are broken by rule."""
    rows = [{"text": f"{text} {i}", "lang": "en", "source": "toy"} for i, text in enumerate(TEXTS * 20)]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(
            f'data_dir = "{tmp_path}"\noutput = "{tmp_path / name / "tokenizer.json"}"\nvocab_size = 420\nseed = 1\n'
            'files = { "text.jsonl" = 5000 }\n'
        )
    stage.main(tmp_path / "a.toml")
    code = (
        "from pathlib import Path\n"
        "from guardrail.training import tokenizer\n"
        f"tokenizer.main(Path({str(tmp_path / 'b.toml')!r}))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "true"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    written = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("a", "b")]
    assert written[0] == written[1]
    assert GuardTokenizer(written[0].decode()).vocab_size == 420


def test_control_tokens_stand_behind_the_learned_vocabulary(made: GuardTokenizer) -> None:
    """In a fixed order, those of the chat template among them; the size is the one asked for."""
    spec = json.loads(MADE)
    assert [(t["id"], t["content"]) for t in spec["added_tokens"]] == list(enumerate((*SPECIAL, *ADDED), 420 - 9))
    assert {t["content"] for t in spec["added_tokens"]} >= CONTROL_TOKENS
    assert made.vocab_size == 420
    assert len(spec["model"]["vocab"]) == 420 - 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't", ["don", "'t"]),
        ("2024", ["2", "0", "2", "4"]),
        ("a b", ["a", " b"]),
        ("a  b", ["a", " ", " b"]),
        ("wait... \n\n what?!\n", ["wait", "...", " \n\n", " what", "?!\n"]),
        ("你好，世界", ["你好", "，世界"]),
        ("(a)", ["(a", ")"]),
    ],
)
def test_text_is_cut_by_qwens_rule(text: str, words: list[str]) -> None:
    """Digits alone, one leading space or symbol with a word, newlines with what stands before them."""
    cut = Tokenizer.from_str(MADE).pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in cut] == words


@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    """Every byte has a token; what comes back is the text in NFC."""
    tokenizer = GuardTokenizer(MADE)
    assert tokenizer.decode(list(tokenizer.encode_plain(text).ids)) == unicodedata.normalize("NFC", text)


def test_words_that_were_seen_often_are_one_token(made: GuardTokenizer) -> None:
    """It has learned something."""
    assert len(made.encode_plain(" guard").ids) <= 2
    assert len(made.encode_plain("the guard reads every token").ids) < len("the guard reads every token") / 2
