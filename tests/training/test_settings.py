"""Settings are read strictly: what a TOML file says happens, or is refused by name."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import ConfigurationError
from guardrail.training.distil.settings import DistilSettings
from guardrail.training.examples import LEAST_LENGTH, Source
from guardrail.training.pretrain import PretrainSettings
from guardrail.training.settings import load_settings
from guardrail.training.sft import SftSettings
from guardrail.training.teach.settings import TeachSettings
from guardrail.training.tokenizer import LEAST_VOCABULARY, TokenizerSettings

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "recipe"

SFT = 'data_dir = "d"\nstart = "s"\noutput = "o"\n'
SHAPE = "\n".join(
    f"{name} = 16"
    for name in ("hidden_size", "n_layers", "n_heads", "n_kv_heads", "head_dim", "intermediate_size", "max_context")
)
PRETRAIN = f'data_dir = "d"\ntokenizer = "t"\noutput = "o"\nsteps = 1\nfiles = {{ "a" = 5 }}\n[shape]\n{SHAPE}\n'


def read(folder: Path, text: str, kind: type[Any] = SftSettings) -> Any:
    (folder / "run.toml").write_text(text)
    return load_settings(folder / "run.toml", kind)


def test_a_file_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """The reader's own limit is no traceback."""
    with pytest.raises(ConfigurationError, match=r"cannot read settings run\.toml"):
        read(tmp_path, "a = " + "[" * 20_000)


def test_values_arrive_with_their_types_and_defaults(tmp_path: Path) -> None:
    """Paths, whole numbers where a fraction may stand, tuples, tables of tables."""
    found = read(tmp_path, SFT + 'epochs = 2\nclass_weights = [2, 1.5, 1]\n[sources."a.jsonl"]\nskip_langs = ["de"]\n')
    assert found == SftSettings(
        data_dir=Path("d"), start=Path("s"), output=Path("o"), epochs=2.0, class_weights=(2.0, 1.5, 1.0),
        sources={"a.jsonl": Source(skip_langs=("de",))},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 2\n[sources]\n", r"run\.toml: unknown key 'epoch'; valid: activation_checkpointing, .*epochs"),
        (
            '[sources."a"]\nmax_row = 5\n',
            r"sources, a: unknown key 'max_row'; valid: as_answer, group, leave_out, max_rows, .*repeat",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_valid_ones(text: str, says: str, tmp_path: Path) -> None:
    """At the top and in every table within: a typo must not train something else."""
    with pytest.raises(ConfigurationError, match=says):
        read(tmp_path, SFT + text)


def test_an_unknown_size_is_named_with_the_valid_ones(tmp_path: Path) -> None:
    """Also in the shape of a model."""
    with pytest.raises(ConfigurationError, match="shape: unknown key 'layers'; valid: guard_inner_size, head_dim"):
        read(tmp_path, PRETRAIN + "layers = 3\n", PretrainSettings)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('epochs = "2"', "epochs"),
        ("seed = 1.0", "seed"),
        ("seed = true", "seed"),
        ("start = 5", "start"),
        ('sources = "a.jsonl"', "sources"),
        ('sources = { "a" = 1 }', "sources.a"),
        ('sources = { "a" = { prompt_is_safe = 1 } }', "sources.a.prompt_is_safe"),
        ('sources = { "a" = { skip_langs = "de" } }', "sources.a.skip_langs"),
        ("class_weights = [1.0, 2.0]", "class_weights.2"),
        ("epochs = 2024-01-01", "epochs"),
    ],
)
def test_a_value_of_another_type_is_named_by_its_key(line: str, key: str, tmp_path: Path) -> None:
    """Text is no number, a fraction no count, a number no switch."""
    head = "\n".join(given for given in SFT.splitlines() if given.split()[0] != line.split(maxsplit=1)[0])
    with pytest.raises(ConfigurationError, match=rf"run\.toml: (.*; )?{key}: Input should be|{key}: Field required"):
        read(tmp_path, f"{head}\n{line}\n" + ("" if line.startswith("sources") else "[sources]\n"))


@pytest.mark.parametrize(
    "line",
    [
        "epochs = 0", "batch_tokens = 0", f"max_length = {LEAST_LENGTH - 1}", "learning_rate = -1.0", "warmup = 1.5",
        "token_noise = -0.1", "teacher_share = 2.0", "seed = -1", "threads = 0", "save_minutes = -1.0", "epochs = inf",
        "class_weights = [0.0, 1.0, 1.0]", "learning_rate = nan", "weight_decay = -0.1",
        "sources = { a = { repeat = 0 } }", "sources = { a = { max_rows = -1 } }",
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_by_its_key(line: str, tmp_path: Path) -> None:
    """Before anything is trained or written."""
    key = "repeat|max_rows" if line.startswith("sources") else line.split(maxsplit=1)[0]
    with pytest.raises(ConfigurationError, match=rf"({key})(\.0)?: Input should be"):
        read(tmp_path, SFT + line + "\n" + ("" if line.startswith("sources") else "[sources]\n"))


def test_missing_keys_are_named(tmp_path: Path) -> None:
    """All of them at once."""
    with pytest.raises(ConfigurationError, match=r"data_dir: Field required; sources: .*; start: .*; output: "):
        read(tmp_path, "epochs = 1\n")
    with pytest.raises(ConfigurationError, match=r"shape\.guard_inner_size: Field required"):
        read(tmp_path, PRETRAIN, PretrainSettings)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Not there, or not TOML."""
    with pytest.raises(ConfigurationError, match=r"cannot read settings none\.toml"):
        load_settings(tmp_path / "none.toml", SftSettings)
    with pytest.raises(ConfigurationError, match=r"cannot read settings run\.toml"):
        read(tmp_path, "epochs = ")


def test_a_vocabulary_holds_every_byte_and_control_token(tmp_path: Path) -> None:
    """256 and 9 is the least."""
    text = 'data_dir = "d"\noutput = "o"\nseed = 1\nfiles = { "a" = 5 }\nvocab_size = '
    assert read(tmp_path, f"{text}265\n", TokenizerSettings).vocab_size == LEAST_VOCABULARY
    with pytest.raises(ConfigurationError, match="vocab_size: Input should be greater than or equal to 265"):
        read(tmp_path, f"{text}264\n", TokenizerSettings)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tokenizer.toml", TokenizerSettings),
        ("pretrain.toml", PretrainSettings),
        ("distil.toml", DistilSettings),
        ("teach.toml", TeachSettings),
        ("sft.toml", SftSettings),
        ("sft_second.toml", SftSettings),
    ],
)
def test_the_recipe_of_the_embedded_model_is_valid(name: str, kind: type[Any]) -> None:
    """Each stage's file loads, and each stage begins where the one before it ended."""
    load_settings(RECIPE / name, kind)
    stages = {
        stage: tomllib.loads((RECIPE / f"{stage}.toml").read_text())
        for stage in ("tokenizer", "pretrain", "distil", "teach", "sft", "sft_second")
    }
    assert stages["pretrain"]["tokenizer"] == stages["distil"]["tokenizer"] == stages["tokenizer"]["output"]
    assert stages["sft"]["start"] == stages["distil"]["output"] + "/checkpoint"
    assert stages["sft"]["data_dir"] == stages["teach"]["output"]
    assert stages["sft_second"]["start"] == stages["sft"]["output"] + "/checkpoint"
