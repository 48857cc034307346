"""The taxonomy file: ours is whole, and one's own is checked."""

import re
from collections import Counter
from pathlib import Path

import pytest

from guardrail.errors import ConfigurationError
from guardrail.taxonomy import Category
from guardrail.training.synthesise.cells import cells_of
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.synthesise.taxonomy import definition_of, load_taxonomy

OURS = load_taxonomy()
OWN = """
version = 1
[[categories]]
name = "illegal"
keywords = [{ subtopic = "fraud", words = ["scam", "con"], twins = ["pan"] }]
[categories.subtopics]
"fraud" = "Tricking people."
[[categories]]
name = "Gossip"
definition = "Talk about people who are not there."
[categories.subtopics]
"celebrities" = "Rumours about famous people."
"""


def test_ours_splits_all_nine_categories() -> None:
    """Each into six to ten subtopics of one sentence, with keywords and harmless twins; nothing stands twice."""
    assert [topics.name for topics in OURS.topics] == [category.value for category in Category]
    for topics in OURS.topics:
        assert 6 <= len(topics.subtopics) <= 10
        assert len(topics.keywords) >= 5
        assert all(re.fullmatch(r"[A-Z][^.]+\.", sentence) for sentence in topics.subtopics.values())
        assert not [n for n in Counter(word for words in topics.keywords for word in words.words).values() if n > 1]
        assert definition_of(topics)
    names = [name for topics in OURS.topics for name in topics.subtopics]
    assert len(set(names)) == len(names)


def test_ours_holds_the_example_of_the_recipe() -> None:
    """A bomb and its synonyms, with a cake as the twin."""
    (words,) = [words for topics in OURS.topics for words in topics.keywords if "bomb" in words.words]
    assert {"C4", "TNT", "black powder"} <= set(words.words)
    assert "cake" in words.twins


def test_a_file_of_ones_own_takes_its_place(tmp_path: Path) -> None:
    """With categories of one's own, and known ones in any spelling."""
    (tmp_path / "mine.toml").write_text(OWN)
    mine = load_taxonomy(tmp_path / "mine.toml")
    assert [topics.name for topics in mine.topics] == ["Non-violent Illegal Acts", "Gossip"]
    assert definition_of(mine.topics[1]) == "Talk about people who are not there."
    assert [topics.name for topics in mine.only(("illegal",)).topics] == ["Non-violent Illegal Acts"]
    assert mine.sha256 != OURS.sha256


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('definition = "Talk about people who are not there."', "", "'Gossip' is none of the nine categories"),
        ('subtopic = "fraud"', 'subtopic = "theft"', "keywords for 'theft', which it does not have"),
        ('twins = ["pan"]', 'twins = ["Scam"]', "its own harmless twin"),
        ('twins = ["pan"]', "twins = []", "twins"),
        ('name = "Gossip"', 'name = "Non-violent Illegal Acts"', "stands there twice"),
        ("version = 1", "version = 1\nauthor = 2", "author"),
        ("[[categories]]", "[[categories", "cannot read the taxonomy in mine.toml"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    """By name of the file and of what is wrong."""
    (tmp_path / "mine.toml").write_text(OWN.replace(old, new))
    with pytest.raises(ConfigurationError, match=says):
        load_taxonomy(tmp_path / "mine.toml")


@pytest.mark.parametrize("n_prompts", [1, 7, 100, 5001])
def test_what_is_wanted_is_spread_evenly(n_prompts: int) -> None:
    """As many as wanted are asked for; no subtopic of a language gets two more than another."""
    settings = SynthesiseSettings(("m",), langs={"en": 3.0, "ja": 1.0})
    cells = cells_of(settings, OURS, n_prompts, 1)
    by_kind = Counter({"plain": 0, "keyword": 0, "pair": 0})
    for cell in cells:
        by_kind[cell.mode] += cell.n_units
    assert by_kind["plain"] + by_kind["keyword"] + 2 * by_kind["pair"] == n_prompts
    assert by_kind["pair"] == round(n_prompts * 0.2)
    plain = [cell.n_units for cell in cells if cell.mode == "plain" and cell.lang == "en"]
    assert max(plain, default=0) - min(plain, default=0) <= 1
    of_lang = {lang: sum(c.n_units for c in cells if c.lang == lang and c.mode == "plain") for lang in ("en", "ja")}
    assert abs(of_lang["en"] - 3 * of_lang["ja"]) <= 3


def test_who_gets_one_more_is_drawn_by_the_seed_alone() -> None:
    """A few prompts are not all of the first category, and the order of languages in the file says nothing."""
    one, other = ({"en": 1.0, "ja": 1.0}, {"ja": 1.0, "en": 1.0})
    cells = cells_of(SynthesiseSettings(("m",), langs=one), OURS, 30, 1)
    assert len({cell.topics.name for cell in cells}) >= 5
    assert cells == cells_of(SynthesiseSettings(("m",), langs=other), OURS, 30, 1)
    assert cells != cells_of(SynthesiseSettings(("m",), langs=one), OURS, 30, 2)


def test_keywords_are_needed_for_what_is_made_of_them(tmp_path: Path) -> None:
    """A category without keywords gets plain prompts alone."""
    (tmp_path / "mine.toml").write_text(OWN)
    gossip = load_taxonomy(tmp_path / "mine.toml").only(("Gossip",))
    with pytest.raises(ConfigurationError, match="has no keywords"):
        cells_of(SynthesiseSettings(("m",)), gossip, 10, 1)
    plain = cells_of(SynthesiseSettings(("m",), pair_share=0, keyword_share=0), gossip, 10, 1)
    assert [cell.n_units for cell in plain] == [10]
