"""The data card and the files of the splits: they say and hold what was handed on."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from guardrail.training.annotate.settings import AnnotateSettings
from guardrail.training.mix.settings import MixSettings
from guardrail.training.mix.stage import CARD, make
from guardrail.training.recipe.manifest import Manifest, Plan, write_manifest
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import RecipeSettings
from tests.training.mix.made import SAFE, UNSAFE, answer, mixed, nobody, prompt, sentence
from tests.training.recipe_job import MemoryJob


@pytest.fixture(scope="module")
def card_and_rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[RecipeRow]]:
    """A card, and the rows that it is of."""
    rows = [
        answer(
            f"a{i}", sentence(i), sentence(1000 + i, 20), lang=("en", "de", "zh")[i % 3], source=f"set|{i % 2}",
            risk=(SAFE, UNSAFE)[i % 2], categories=("Violent",) if i % 2 else (), is_human=i % 5 == 0,
        )
        for i in range(80)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("mix")
    job, _ = mixed(rows, folder, licences={"set|0": "MIT"})
    return (folder / CARD).read_text(), job.output


@pytest.mark.parametrize("name", ["lang", "source", "split", "target"])
def test_the_card_says_what_the_rows_are(card_and_rows: tuple[str, list[RecipeRow]], name: str) -> None:
    """Each value's line ends with its number of rows, or those of each split."""
    card, rows = card_and_rows
    for value in {str(getattr(row, name)) for row in rows}:
        mine = [row for row in rows if str(getattr(row, name)) == value]
        line = next(line for line in card.splitlines() if line.startswith(f"| {value} |".replace("set|", "set\\|")))
        numbers = [
            int(cell) for cell in line.split(" | ")[1:] if cell.strip(" |").isdigit() for cell in [cell.strip(" |")]
        ]
        if name == "source":
            assert numbers == [sum(row.split == split for row in mine) for split in ("train", "validation", "test")]
        else:
            assert numbers[-1] == len(mine)
    assert "| set\\|0 | MIT |" in card
    assert "- 1 of 2 sources have no licence stated here." in card
    assert f"{sum(row.is_human for row in rows)} labels are marked as people's" in card


def test_the_card_tells_of_the_recipe_s_stages_alone(tmp_path: Path) -> None:
    """A folder that an earlier recipe left beside it had no part in the data."""
    for name in ("respond", "annotate"):
        plan = Plan(stage=name, stage_version=1, settings={}, models={}, materials={}, inputs={}, seed=1, limit=None,
                    part_rows=10)  # fmt: skip
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, Manifest(plan=plan, digest=plan.digest, started="2024-01-01T00:00:00Z"))
    settings = MixSettings()
    stage = make(settings, RecipeSettings(tmp_path, annotate=AnnotateSettings(annotators={}), mix=settings))
    stage.run(MemoryJob([prompt("a", sentence(1))], tmp_path / "mix", nobody))
    card = (tmp_path / "mix" / CARD).read_text()
    assert "| annotate |" in card
    assert "respond" not in card


def test_each_split_has_a_file_of_the_schema(tmp_path: Path) -> None:
    """Its rows are those of the split, in order, with all that is known of them."""
    job, _ = mixed([prompt(f"p{i}", sentence(i)) for i in range(60)], tmp_path, validation=0.3, test=0.2)
    for split in ("train", "validation", "test"):
        table = pq.read_table(tmp_path / f"{split}.parquet")
        wanted = [row.id for row in job.output if row.split == split]
        assert table.column("id").to_pylist() == wanted
        assert wanted


def test_a_family_stands_in_one_split(tmp_path: Path) -> None:
    """Also when several inputs hold answers to the same question under ids of their own."""
    rows = [
        answer(f"{source}{i}", sentence(i), sentence(1000 * s + i, 20))
        for s, source in enumerate("abc", 1)
        for i in range(30)
    ]
    job, _ = mixed(rows, tmp_path, validation=0.3, test=0.3)
    splits = {i: {row.split for row in job.output if row.id[1:] == str(i)} for i in range(30)}
    assert {len(met) for met in splits.values()} == {1}
    assert len(set.union(*splits.values())) == 3
