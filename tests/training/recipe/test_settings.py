"""A recipe file says what happens, or is refused by name."""

from pathlib import Path

import pytest

from guardrail.errors import ConfigurationError
from guardrail.training.recipe.settings import STAGES, load_recipe

HEAD = 'output = "o"\n'


def load(folder: Path, text: str) -> object:
    """Read a recipe."""
    (folder / "recipe.toml").write_text(text, "utf-8")
    return load_recipe(folder / "recipe.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[annotate]\nagregate = 1\n", "recipe.toml, annotate: unknown key 'agregate'; valid: aggregate"),
        ('[[inputs]]\npath = "a"\nis_humn = true\n[mix]\n', "inputs: unknown key 'is_humn'; valid: is_human"),
        ('[models.a]\nkind = "endpoint"\nurl = "x"\n[mix]\n', "models, a: unknown key 'url'; valid: .*base_urls"),
        ('[respond]\nanswerers = [{ model = "a", sample = 2 }]\n', "answerers: unknown key 'sample'; valid: .*samples"),
        ("[controversial.learner]\nkinds = 1\n", "controversial, learner: unknown key 'kinds'"),
        ("[mix.most]\nlangs = 1\n", "mix, most: unknown key 'langs'"),
        ("mixx = 1\n[mix]\n", "unknown key 'mixx'"),
    ],
)
def test_a_typo_is_refused_wherever_it_stands(text: str, says: str, tmp_path: Path) -> None:
    """In sections, lists of tables, models: else the default would be used without a word."""
    with pytest.raises(ConfigurationError, match=says):
        load(tmp_path, HEAD + text)


def test_a_recipe_without_a_stage_is_refused(tmp_path: Path) -> None:
    """The message names the sections that there are."""
    with pytest.raises(ConfigurationError, match=f"sets up no stage .*{', '.join(STAGES)}"):
        load(tmp_path, HEAD)
