"""Sets are found by name, files by path or in folders; what is read streams and is the same at every reading."""

import itertools
from pathlib import Path

import pytest

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.evaluation.datasets import DATASETS, Dataset, load_dataset, table
from guardrail.evaluation.datasets.categories import PUBLISHED
from guardrail.evaluation.datasets.files import has_files
from guardrail.evaluation.rows import Tally
from tests.evaluation.datasets.published import POLYGUARD, XSTEST, read, write


def test_an_unknown_name_names_the_known_ones() -> None:
    """At once, before anything is read."""
    with pytest.raises(ConfigurationError, match="no dataset 'toxic'; there are: toxicchat, "):
        load_dataset("toxic")


def test_a_missing_path_says_what_to_fetch_and_how_to_name_it(tmp_path: Path) -> None:
    """The file, its commit and the option."""
    with pytest.raises(
        ConfigurationError, match=r"no file or folder .*none.*xstest_prompts\.csv of Paul/XSTest at f600"
    ):
        load_dataset("xstest", tmp_path / "none")
    with pytest.raises(
        ConfigurationError, match=r"holds no test/wildguard_test\.parquet.*accepted.*wildguardtest=PATH"
    ):
        load_dataset("wildguardtest", tmp_path)
    with pytest.raises(ConfigurationError, match=r"from https://github\.com/centerforaisafety/HarmBench/blob/8e1604d"):
        load_dataset("harmbench", tmp_path)


def test_a_folder_is_searched_by_published_path_then_by_name(tmp_path: Path) -> None:
    """So a clone, a download and a single copied file all do."""
    write(tmp_path / "deep" / "down" / "xstest_prompts.csv", XSTEST)
    assert len(read("xstest", tmp_path)[0]) == 2
    write(tmp_path / "xstest_prompts.csv", XSTEST[:1])
    assert len(read("xstest", tmp_path)[0]) == 1


def test_two_copies_in_a_folder_are_not_read_as_one(tmp_path: Path) -> None:
    """Rows would be measured twice; a set of several files has a pattern."""
    for copy in ("old", "new"):
        write(tmp_path / copy / "xstest_prompts.csv", XSTEST)
    with pytest.raises(ConfigurationError, match=r"holds 2 files xstest_prompts\.csv \(name one\)"):
        load_dataset("xstest", tmp_path)


def test_copies_of_a_part_are_not_read_as_two(tmp_path: Path) -> None:
    """Of a set with a pattern too."""
    for copy in ("old", "new"):
        write(tmp_path / copy / "data" / "test-00000-of-00001.parquet", POLYGUARD)
    with pytest.raises(ConfigurationError, match=r"holds 2 files test-00000-of-00001\.parquet"):
        load_dataset("polyguard", tmp_path)


def test_a_missing_part_is_an_error(tmp_path: Path) -> None:
    """A download that was interrupted must not pass for the set."""
    dataset = DATASETS["polyguard"]
    for part in (0, 2):
        write(tmp_path / "data" / f"test-0000{part}-of-00003.parquet", POLYGUARD)
    assert not has_files(dataset, tmp_path)
    with pytest.raises(ConfigurationError, match=r"lacks 1 parts of its files \(fetch data/test-"):
        load_dataset("polyguard", tmp_path)
    write(tmp_path / "data" / "test-00001-of-00003.parquet", POLYGUARD)
    assert has_files(dataset, tmp_path)
    assert len(read("polyguard", tmp_path)[0]) == 3 * len(
        read("polyguard", tmp_path / "data" / "test-00001-of-00003.parquet")[0]
    )


def test_rows_come_before_the_file_was_read_through(tmp_path: Path) -> None:
    """The large sets are never held whole."""
    path = write(tmp_path / "a.jsonl", POLYGUARD)
    with path.open("a") as file:
        file.write("{no JSON\n")
    tally = Tally()
    assert len(list(itertools.islice(load_dataset("polyguard", path, tally), 3))) == 3
    assert tally.n_lines == 3


def test_ids_are_unique_and_the_same_in_every_format(tmp_path: Path) -> None:
    """Runs on different machines are compared row by row."""
    ids = [
        [row.id for row in read("polyguard", write(tmp_path / name, POLYGUARD))[0]] for name in ("a.jsonl", "a.parquet")
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(POLYGUARD)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_set_says_whose_it_is_and_who_counts(dataset: Dataset) -> None:
    """A licence, a pinned commit, what counts as harmful, and where that was looked up."""
    assert all((dataset.title, dataset.licence, dataset.harmful, dataset.sources, dataset.files, dataset.split))
    assert dataset.is_non_commercial == ("-NC-" in dataset.licence)
    assert dataset.url.startswith("https://")
    assert not dataset.hub_id or len(dataset.revision) == 40
    assert dataset.counted is None or dataset.counted[0] >= dataset.counted[1]
    assert dataset.target is (Direction.RESPONSE if _is_of_answers(dataset.name) else Direction.PROMPT)


def _is_of_answers(name: str) -> bool:
    return "response" in name or name.startswith(("saferlhf", "beavertails", "qwen3guardtest"))


def test_a_hub_id_without_revision_is_refused() -> None:
    """What moves cannot be measured twice."""
    made = {field: getattr(DATASETS["xstest"], field) for field in Dataset.__slots__}
    with pytest.raises(ValueError, match="xstest: a hub id and a revision belong together"):
        Dataset(**{**made, "revision": ""})
    with pytest.raises(ValueError, match="a companion and its reader belong together"):
        Dataset(**{**made, "companion": "a"})


def test_the_table_lists_all_sets_and_flags_licences() -> None:
    """As `guardrail evaluate --datasets` and the documentation show it."""
    cells = table()
    rows = {row[0]: dict(zip(cells.header, row, strict=True)) for row in cells.rows}
    assert list(rows) == list(DATASETS)
    assert rows["toxicchat"]["licence"] == "CC-BY-NC-4.0 (non-commercial)"
    assert rows["polyguard"]["languages"] == "17 languages"
    assert rows["wildguardtest"]["where"] == "allenai/wildguardmix (gated)"
    assert rows["xstest"] | {"published": "450", "measured": "450", "harmful": "200"} == rows["xstest"]


def test_the_page_shows_the_same_table_and_kinds_of_harm() -> None:
    """docs/datasets.md is written by hand, and checked here."""
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8")
    for row in table().rows:
        assert "| " + " | ".join(row) + " |" in page, row[0]
    for name, dataset in DATASETS.items():
        assert f"`{name}`" in page
        assert dataset.harmful in page
    for words in PUBLISHED.values():
        assert all(f"{word}" in page for word in words)
