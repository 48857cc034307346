"""The example loads, and the page names every setting."""

from dataclasses import fields
from pathlib import Path

from guardrail.network import DecoderLayer
from guardrail.training.settings import load_settings
from guardrail.training.tuning.settings import SftSettings

ROOT = Path(__file__).resolve().parents[3]


def test_the_example_is_valid() -> None:
    """As it stands, and its neighbour names the class of our layers."""
    settings = load_settings(ROOT / "examples" / "sft" / "stream.toml", SftSettings)
    assert str(settings.start) == "Qwen/Qwen3Guard-Stream-0.6B"
    assert f"_cls_to_wrap: {DecoderLayer.__name__}\n" in (ROOT / "examples" / "sft" / "fsdp.yaml").read_text("utf-8")


def test_the_page_names_every_setting() -> None:
    """In its table."""
    page = (ROOT / "docs" / "sft.md").read_text("utf-8")
    first_cells = {line.split("|")[1] for line in page.splitlines() if line.startswith("| `")}
    named = {name.strip(" `") for cell in first_cells for name in cell.split(",")}
    assert named == {field.name for field in fields(SftSettings)}
