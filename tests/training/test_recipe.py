"""What the shipped weights may be trained on: the recipe, the data card and the protocol of measuring agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CARD = (ROOT / "docs" / "data_card.md").read_text("utf-8")
FREE = re.compile(r"public domain|CC0|CC-BY|ODC-BY|MIT|Apache-2\.0|BSD|PSF")
NOT_FREE = re.compile(r"-NC\b|-ND\b|[Nn]on-commercial|[Nn]one stated|[Nn]o licence|[Uu]nknown")

NEVER_TRAINED_ON = (
    "dev_advbench", "dev_contrast_pairs", "dev_tensor_trust_hijacking", "dev_user_oriented_benign",
    "latent_jailbreak_responses", "cipherchat_human", "toxigen_statements", "agentdojo_workspace_train",
    "persona_prompts_benign", "questions_benign",
)  # fmt: skip
"""Kept for measuring (decisions.md 22)."""

NON_COMMERCIAL = ("safety_tuned_llamas", "alpaca_zh_benign", "sealsbench")
"""Rows that rest on CC-BY-NC sources (decisions.md 25)."""


LABELLED = ("distil", "teach", "sft", "sft_second")
"""Stages that read labelled files."""


def recipe(stage: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "examples" / "recipe" / f"{stage}.toml").read_text("utf-8"))


def stem(file: str) -> str:
    return Path(file).name.removesuffix(".gz").removesuffix(".jsonl")


def tuned() -> dict[str, Any]:
    """Return the sources of both fine-tunings by name, as the first one that has them uses them."""
    stages = recipe("sft_second"), recipe("sft")
    return {stem(file): source for stage in stages for file, source in stage["sources"].items()}


def table(section: str) -> list[list[str]]:
    """Return the cells of the rows of a section's table."""
    text = CARD.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_card_lists_exactly_the_files_of_the_recipe() -> None:
    """A source that is added to one is added to the other."""
    assert sorted(row[0] for row in table("Fine-tuning")) == sorted(tuned())


@pytest.mark.parametrize("row", table("Fine-tuning") + table("Distillation"), ids=lambda row: row[0])
def test_every_source_has_a_licence_that_allows_free_use(row: list[str]) -> None:
    """Named, and none of it non-commercial or unstated."""
    licence = row[-2] if len(row) > 4 else row[-1]
    assert FREE.search(licence), licence
    assert not NOT_FREE.search(licence), licence


def test_what_is_measured_is_not_trained_on() -> None:
    """Files of the protocol are no stage's sources, but for languages or groups of rows that it leaves out whole."""
    for stage in LABELLED:
        sources = {Path(file).name: source for file, source in recipe(stage)["sources"].items()}
        for file, use in recipe("dev")["files"].items():
            if file not in sources:
                continue
            source = sources[file]
            measured, kept = (use.get("left_out"), use.get("group")), (source.get("leave_out"), source.get("group"))
            langs = set(use.get("langs", []))
            assert (measured[0] and measured == kept) or (langs and langs <= set(source["skip_langs"])), (stage, file)
    trained = {stem(file) for stage in (*LABELLED, "pretrain", "tokenizer") for file in files_of(stage)}
    assert not trained & set(NEVER_TRAINED_ON)
    assert not trained & set(NON_COMMERCIAL)


def test_all_stages_draw_on_the_same_rows() -> None:
    """Teachers judge every row that fine-tuning reads; the distilled backbone has met no other labelled files."""
    distilled, taught, first, second = ({stem(file) for file in recipe(stage)["sources"]} for stage in LABELLED)
    assert taught == first
    assert distilled <= first <= second
    assert {stem(file) for file in recipe("distil")["unseen"]} <= set(NEVER_TRAINED_ON)


def files_of(stage: str) -> list[str]:
    settings = recipe(stage)
    return [*settings.get("sources", []), *settings.get("files", [])]


def test_the_card_says_how_each_source_is_used() -> None:
    """Repeats, languages left out, statements as answers, user turns as safe prompts."""
    uses = {row[0]: row[-1] for row in table("Fine-tuning")}
    for file, source in tuned().items():
        use = uses[file]
        assert (f"seen {source.get('repeat')} times" in use) == (source.get("repeat", 1) > 1), file
        assert all(f"without {lang}" in use for lang in source.get("skip_langs", [])), file
        assert ("statements as answers" in use) == source.get("as_answer", False), file
        assert ("user turns as safe prompts" in use) == source.get("prompt_is_safe", False), file
        assert ("a quarter left out" in use) == (source.get("leave_out", 0) == 0.25), file
