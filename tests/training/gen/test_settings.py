"""The example's settings can be read, and the page names every key with its default."""

from dataclasses import MISSING, fields
from pathlib import Path

from guardrail.training.gen.settings import SftGenSettings
from guardrail.training.settings import load_settings

ROOT = Path(__file__).parents[3]


def test_the_example_is_read() -> None:
    """As it stands."""
    settings = load_settings(ROOT / "examples" / "sft" / "gen.toml", SftGenSettings)
    assert settings.start == "Qwen/Qwen3Guard-Gen-0.6B"
    assert settings.sources


def test_the_page_names_every_key_and_its_default() -> None:
    """In its table, in this spelling."""
    page = (ROOT / "docs" / "sft_gen.md").read_text("utf-8")
    rows = [
        line.split("|")[1:3] for line in page.partition("| key | default |")[2].splitlines() if line.startswith("| `")
    ]
    told: dict[str, str] = {}
    for names, defaults in rows:
        keys, values = [[word.strip(" `") for word in cell.split(",")] for cell in (names, defaults)]
        told |= dict(zip(keys, values if len(values) == len(keys) else [values[0]] * len(keys), strict=True))
    assert told.keys() == {f.name for f in fields(SftGenSettings)} - {"lora"} | {"[lora]"}
    for field in fields(SftGenSettings):
        if field.default not in (MISSING, None, ()):
            value = told[field.name].strip('"')
            assert value.lower() == str(field.default).lower() or float(value) == float(str(field.default))
