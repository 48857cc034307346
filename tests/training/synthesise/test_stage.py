"""The stage as a whole, with scripted models: what is asked, what is kept, and that it can go on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.decision import Direction
from guardrail.errors import ConfigurationError, EngineTimeout
from guardrail.training.recipe.calls import Call, Reply
from guardrail.training.recipe.duplicates import NearDuplicates, rouge_l
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings
from guardrail.training.recipe.stage import Profile
from guardrail.training.synthesise.stage import make
from tests.training.recipe_job import MemoryJob
from tests.training.synthesise.scripted import INPUT, MODELS, SETTINGS, Models, row, run


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.parquet")}


def tally(rows: Sequence[RecipeRow], key: str) -> Mapping[Any, int]:
    values = [row.lang if key == "lang" else row.meta[key] for row in rows]
    return {value: values.count(value) for value in values}


def test_the_shares_that_were_asked_for_are_made(tmp_path: Path) -> None:
    """Input rows stand first, unchanged; then the prompts, without a label, of all ways and languages."""
    made, summary = run(tmp_path)
    assert tally(made, "mode") == {"plain": 18, "keyword": 18, "pair": 24}
    assert tally(made, "lang") == {"en": 40, "zh": 20}
    assert all((r.risk, r.categories, r.target, r.source) == (None, (), Direction.PROMPT, "synthesise") for r in made)
    assert len({r.id for r in made}) == 60
    assert len({r.meta["intended"].get("category") for r in made}) == 10  # nine, and none for harmless twins
    assert summary.values["made"] == summary.values["wanted"] == 60
    assert summary.values["by"]["intended"] == {"safe": 12, "unsafe": 48}
    assert not summary.warnings


def test_pairs_are_one_family_and_name_each_other(tmp_path: Path) -> None:
    """Both or none are kept; the harmless twin is intended to be safe, and has no category."""
    made, _ = run(tmp_path)
    by_id = {r.id: r for r in made}
    pairs = [r for r in made if r.meta["mode"] == "pair"]
    assert all(by_id[r.meta["pair"]].meta["pair"] == r.id for r in pairs)
    assert all(by_id[r.meta["pair"]].root == r.root for r in pairs)
    unsafe, safe = pairs[0], pairs[1]
    assert (unsafe.meta["pair"], safe.meta["pair"]) == (safe.id, unsafe.id)
    assert (unsafe.id, safe.id) == (f"{unsafe.root}/unsafe", f"{unsafe.root}/safe")
    assert unsafe.meta["intended"].keys() == {"risk", "category", "subtopic", "keyword"}
    assert safe.meta["intended"] == {"risk": "safe", "subtopic": unsafe.meta["intended"]["subtopic"]}
    assert all("pair" not in r.meta and r.root == r.id for r in made if r.meta["mode"] != "pair")


@pytest.mark.parametrize("n_known", [7, 50])
def test_no_two_kept_prompts_are_near_each_other(n_known: int, tmp_path: Path) -> None:
    """Nor an input prompt and a kept one; the two of a pair are, on purpose. Over the candidates none is, and over all
    pairs hardly any.
    """
    made, summary = run(tmp_path, models=Models(n_known=n_known))
    everything, known, n_missed = [*INPUT, *made], NearDuplicates(0.7), 0
    for number, one in enumerate(everything):
        others = {key for key in range(number) if everything[key].root != one.root}
        found = [measure for key, measure in known.candidates(one.judged_text) if key in others]
        known.add(number, one.judged_text)
        if one in made:
            assert max(found, default=0.0) < 0.7
            n_missed += sum(rouge_l(one.judged_text, everything[key].judged_text) >= 0.7 for key in others)
    assert n_missed <= 1
    assert all(r.meta["likeness"] < 0.7 for r in made)
    assert ("dropped: too like another" in summary.values["left_out"]) == (n_known == 7)


def test_a_second_start_asks_nothing_and_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also after a kill between two parts: only what the lost part needs is asked again."""
    first = Models(n_known=7)
    run(tmp_path, models=first)
    whole = digest(tmp_path)
    assert len({name.split("/")[1] for name in whole if name.startswith("work/")}) > 1
    again = Models(n_known=7)
    run(tmp_path, models=again)
    assert not again.calls
    assert digest(tmp_path) == whole
    lost = max((tmp_path / "work").rglob("*.parquet"))
    lost.unlink()
    (tmp_path / "rows" / "00000.parquet").unlink()
    partly = Models(n_known=7)
    run(tmp_path, models=partly)
    assert 0 < len(partly.calls) <= 10
    assert {call.key("m") for call in partly.calls} <= {call.key("m") for call in first.calls}
    assert digest(tmp_path) == whole


def test_a_model_that_fails_ends_the_stage_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """Nothing is handed on by a run that failed."""

    class Failing(Models):
        async def __call__(self, call: Call) -> Reply:
            if len(self.calls) == 15:
                raise EngineTimeout("no answer")
            return await super().__call__(call)

    with pytest.raises(EngineTimeout):
        run(tmp_path / "a", models=Failing())
    assert not (tmp_path / "a" / "rows").exists()
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_no_two_calls_are_the_same_question(tmp_path: Path) -> None:
    """Else the cache would answer the second one with the first one's prompts; even without examples that tell them
    apart, in one round and from round to round.
    """
    models = Models(n_known=7)
    settings = replace(SETTINGS, n_prompts=60, categories=("PII",), human_examples=0, made_examples=0, round_share=1)
    run(tmp_path, replace(settings, prompts_per_call=1), models)
    keys = [call.key("m") for call in models.calls]
    assert len(keys) > 48
    assert len({call.messages for call in models.calls}) < len(keys)
    assert len(set(keys)) == len(keys)


def test_generators_take_turns_and_see_input_rows_and_what_was_made(tmp_path: Path) -> None:
    """Two input prompts of the category (in English where the language has none), then two made ones."""
    models = Models()
    settings = replace(SETTINGS, generators=("writer", "second"), n_prompts=40, categories=("violent",), pair_share=0)
    made, summary = run(tmp_path, replace(settings, prompts_per_call=1), models)
    assert set(tally(made, "model")) == {"writer", "second"}
    assert summary.values["by_category"] == {"Violent": 40}
    shown = [[line for line in call.messages[-1].content.splitlines() if line[:1] == '"'] for call in models.calls]
    texts = {json.dumps(r.judged_text) for r in INPUT}
    assert all(len(lines) >= 2 and set(lines[:2]) <= texts for lines in shown)
    mine = {json.dumps(r.judged_text, ensure_ascii=False) for r in made}
    assert not shown[0][2:]
    assert len(shown[-1]) == 4
    assert set(shown[-1][2:]) <= mine


def test_ids_keep_clear_of_the_input_rows(tmp_path: Path) -> None:
    """The rows of another recipe may come from this stage too."""
    rows = [*INPUT, row(90, "Another prompt that was made elsewhere", id="syn/1-0-0", root="syn/1-0-0")]
    made, _ = run(tmp_path, rows=rows)
    assert all(r.id.startswith("syn1/") for r in made)


def test_a_limit_lowers_the_number_of_prompts(tmp_path: Path) -> None:
    """It is what `--limit` means for this stage."""
    job = MemoryJob(INPUT, tmp_path, Models(), limit=7)
    make(SETTINGS, RecipeSettings(tmp_path, models=MODELS)).run(job)
    assert len(job.output) - len(INPUT) == 7 - 7 % 2 + 1


def test_an_estimate_is_near_what_is_asked(tmp_path: Path) -> None:
    """Calls of a generator that loses as much as is assumed; tokens and judgements are there."""
    settings = replace(SETTINGS, n_prompts=2000, judge="guard")
    stage = make(settings, RecipeSettings(tmp_path, models=MODELS))
    found = stage.estimate(Profile(100, 50, 10))
    # 800 plain and keyword prompts are 81 and 60 cells, of which each needs its own calls, in two languages
    assert found.usage["guard"].n_calls == pytest.approx(800 / 0.7)
    assert 1600 / 5 / 0.7 < found.usage["writer"].n_calls < 2 * 1600 / 5 / 0.7
    assert found.usage["writer"].n_input > 200 * found.usage["writer"].n_calls
    assert (found.after.n_prompts, found.after.n_responses, found.after.n_unlabelled) == (2100, 50, 2010)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"generators": ()}, "no model that writes"),
        ({"generators": ("judge",)}, "is a guard"),
        ({"keyword_share": 0.7}, "add up to more than 1"),
        ({"min_tokens": 200}, "min_tokens is above max_tokens"),
        ({"langs": {}}, "no language"),
        ({"categories": ("Rudeness",)}, "no category 'Rudeness'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    """By `make`, with what to do."""
    recipe = RecipeSettings(tmp_path, models={**MODELS, "judge": ModelSettings("guard")})
    with pytest.raises(ConfigurationError, match=says):
        make(replace(SETTINGS, **changed), recipe)


def test_a_prompts_file_of_ones_own_is_checked_first(tmp_path: Path) -> None:
    """A value that the stage does not have is named."""
    texts = "\n".join(f'{name} = "$nothing"' for name in ("system", "examples", "plain", "keyword", "pair"))
    (tmp_path / "mine.toml").write_text(f"version = 1\n[texts]\n{texts}\n")
    with pytest.raises(ConfigurationError, match="cannot be filled"):
        make(replace(SETTINGS, prompts=tmp_path / "mine.toml"), RecipeSettings(tmp_path, models=MODELS))
