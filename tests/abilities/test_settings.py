"""Settings: what cannot work is refused before anything is asked."""

from pathlib import Path

import pytest

from guardrail.abilities.settings import load_abilities
from guardrail.errors import ConfigurationError

MODEL = '[[models]]\nname = "m"\nkind = "endpoint"\nmodel = "m"\nbase_urls = ["http://127.0.0.1:1/v1"]\n'
AIME = '[aime]\npaths = ["a.jsonl"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AIME, "models"),
        (MODEL, "add a section"),
        (MODEL + MODEL + AIME, "name of its own"),
        (MODEL + 'before = "x"\n' + AIME, "no such model"),
        (MODEL + "temperature = 0\n" + AIME, "greedily"),
        (MODEL + '[arena_hard]\npaths = ["q"]\n', "no judge"),
        (MODEL + AIME + "wrong = 1\n", "unknown key"),
        (MODEL + "[gpqa]\nsubset = 'gold'\n", "subset"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """The message says what to change."""
    path = tmp_path / "models.toml"
    path.write_text(f'output = "out"\n{text}', "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        load_abilities(path)


def test_the_example_can_be_read() -> None:
    """The shipped example names the reference's six rows and all tasks."""
    settings = load_abilities(Path(__file__).resolve().parents[2] / "examples" / "abilities" / "models.toml")
    assert len(settings.models) == 6
    assert all((settings.safety, settings.arena_hard, settings.aime, settings.livecodebench, settings.gpqa))
