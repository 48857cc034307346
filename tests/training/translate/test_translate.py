import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail.audit.pages.figures import Summary
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.parts import PartRows
from guardrail.training.recipe.rows import RecipeRow
from guardrail.training.recipe.settings import ModelSettings, RecipeSettings, load_recipe
from guardrail.training.recipe.stage import Profile
from guardrail.training.translate.settings import TranslateSettings
from guardrail.training.translate.sheet import Entry, read_sheet, write_sheet
from guardrail.training.translate.stage import SHEET, make
from tests.training.recipe_job import MemoryJob
from tests.training.translate.translator import ENGLISH, MODELS, Translator, right, row

GERMAN = TranslateSettings("mt", ("de",), share=1.0)


def run(
    settings: TranslateSettings, rows: Sequence[RecipeRow], folder: Path, model: Translator
) -> tuple[list[RecipeRow], Summary, MemoryJob]:
    folder.mkdir(exist_ok=True)
    job = MemoryJob(rows, folder, model)
    summary = make(settings, RecipeSettings(folder / "out", models=MODELS)).run(job)
    return job.output, summary, job


def test_translations_stand_behind_their_source_with_its_label(tmp_path: Path) -> None:
    """All that is known of a row holds for its translation, but for what only people or positions can tell."""
    source = row(3, unsafe_start_char=4)
    rows, summary, _ = run(TranslateSettings("mt", ("de", "zh"), share=1.0), [source, row(4)], tmp_path, Translator())
    assert [one.id for one in rows] == ["p-3", "p-3/de", "p-3/zh", "p-4", "p-4/de", "p-4/zh"]
    assert rows[0] == source
    german = rows[1]
    assert german.messages == (Message(Role.USER, right("German", "3")),)
    assert (german.lang, german.root, german.risk, german.categories) == ("de", "p-3", source.risk, source.categories)
    assert (german.unsafe_start_char, german.is_human) == (None, False)
    assert german.meta["translated"] == {"from": "en", "model": "mt", "is_human": True}
    assert german.meta["votes"] == [1, 2]
    assert summary.values["starts_lost"] == 2
    assert summary.values["by_lang"]["zh"]["made"] == 2


def test_every_text_of_a_conversation_is_translated(tmp_path: Path) -> None:
    """Thinking too; blank messages stay as they are."""
    turns = (
        Message(Role.USER, ENGLISH.format(1)),
        Message(Role.ASSISTANT, ENGLISH.format(2), reasoning=ENGLISH.format(3)),
        Message(Role.USER, " "),
        Message(Role.ASSISTANT, ENGLISH.format(4)),
    )
    model = Translator()
    rows, _, job = run(GERMAN, [row(0, messages=turns, target=Direction.RESPONSE)], tmp_path, model)
    said = [(one.content, one.reasoning) for one in rows[1].messages]
    german = {number: right("German", str(number)) for number in range(1, 5)}
    assert said == [(german[1], None), (german[2], german[3]), (" ", None), (german[4], None)]
    asked = json.loads(model.calls[0].messages[1].content)
    assert [one["role"] for one in asked] == ["user", "assistant, thinking", "assistant", "assistant"]
    (entry,) = read_sheet(job.folder / SHEET)
    assert entry.translation.startswith(f"[user] {german[1]}\n\n[assistant, thinking] {german[3]}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda *_: " ", "empty translation"),
        (lambda _, text: text[:12], "length out of bounds"),
        (lambda _, text: text * 4, "length out of bounds"),
        (lambda *_: ENGLISH.format(7).upper(), "not translated"),
        (lambda *_: "I am sorry, but this text is nothing that I can translate for you.", "wrong language"),
        (lambda *_: "Hoe bak ik zeven broden met weinig gist in een oude oven, alsjeblieft?", "wrong language"),
        (lambda _, text: text + " Please use an old oven.", "mixed languages"),
        (lambda _, text: text[:-10] + " 在旧烤箱里烤面包", "mixed languages"),
    ],
)
def test_bad_translations_are_left_out_and_counted(
    change: Callable[[str, str], str], reason: str, tmp_path: Path
) -> None:
    """The source stays; nobody judges what a cheap check has refused."""
    model = Translator(change)
    rows, summary, job = run(replace(GERMAN, judge="judge"), [row(7)], tmp_path, model)
    assert rows == [row(7)]
    assert {key: n for key, n in summary.values["by_lang"]["de"].items() if n} == {"asked": 1, reason: 1}
    assert PartRows(sorted((job.folder / "rows").glob("*.parquet"))).counts[f"dropped: {reason}"] == 1
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        ("meaning_changed", "meaning changed"),
        ("harm_changed", "harm changed"),
        ("fine", "not judged"),
        ("adequate", ""),
    ],
)
def test_a_judge_has_the_last_word(verdict: str, reason: str, tmp_path: Path) -> None:
    """What it does not call adequate is left out; what it says twice in no known words counts as not judged."""
    rows, summary, _ = run(replace(GERMAN, judge="judge"), [row(7)], tmp_path, Translator(verdict=verdict))
    assert len(rows) == (1 if reason else 2)
    if reason:
        assert summary.values["by_lang"]["de"][reason] == 1


@pytest.mark.parametrize(("refusing", "reason"), [("mt", "call refused"), ("judge", "not judged")])
def test_refused_calls_cost_one_row(refusing: str, reason: str, tmp_path: Path) -> None:
    """A server that will never answer is one row's matter."""
    _, summary, _ = run(replace(GERMAN, judge="judge"), [row(7)], tmp_path, Translator(raises=refusing))
    assert summary.values["by_lang"]["de"][reason] == 1


def test_a_wrong_number_of_texts_is_asked_for_again_and_then_given_up(tmp_path: Path) -> None:
    """The model is told of its error once."""
    calls: list[Call] = []

    async def ask(call: Call) -> Reply:
        calls.append(call)
        return Reply((Text('{"texts": ["eins", "zwei"]}'),))

    job = MemoryJob([row(1)], tmp_path, ask)
    summary = make(GERMAN, RecipeSettings(tmp_path / "out", models=MODELS)).run(job)
    assert summary.values["by_lang"]["de"]["unreadable answer"] == 1
    assert [len(call.messages) for call in calls] == [2, 4]


def test_a_share_takes_families_whole_and_each_language_its_own(tmp_path: Path) -> None:
    """Rows of one root are translated together; the choice for one language tells nothing of another's."""
    rows = [row(i, root=f"r-{i // 2}") for i in range(160)]
    settings = TranslateSettings("mt", ("de", "zh"), share=0.5, shares={"zh": 0.2}, sheet_rows=0)
    made, _, job = run(settings, rows, tmp_path, Translator())
    chosen = {lang: {one.root for one in made if one.lang == lang} for lang in ("de", "zh")}
    assert sum(one.lang != "en" for one in made) == 2 * sum(map(len, chosen.values()))
    assert 25 < len(chosen["de"]) < 55
    assert 6 < len(chosen["zh"]) < 28
    assert not chosen["zh"] <= chosen["de"]
    assert not (job.folder / SHEET).exists()


def test_a_number_of_rows_is_met_but_for_families(tmp_path: Path) -> None:
    """The first families by their place, whole ones."""
    rows = [row(i, root=f"r-{i // 2}") for i in range(60)]
    made, summary, _ = run(replace(GERMAN, n_rows=15), rows, tmp_path, Translator())
    assert summary.values["by_lang"]["de"]["asked"] == 16
    assert len(made) == 76
    single, _, _ = run(replace(GERMAN, n_rows=15, by_family=False), rows, tmp_path / "single", Translator())
    assert len(single) == 75


@pytest.mark.parametrize(
    ("one", "settings"),
    [
        (row(1, lang="de"), replace(GERMAN, source_langs=())),
        (row(1, lang="fr"), GERMAN),
        (row(1), replace(GERMAN, max_chars=20)),
    ],
)
def test_rows_that_are_not_translated_pass_through(one: RecipeRow, settings: TranslateSettings, tmp_path: Path) -> None:
    """Rows of the language itself, of languages that are not asked for, and long ones."""
    model = Translator()
    rows, _, _ = run(settings, [one], tmp_path, model)
    assert rows == [one]
    assert not model.calls


def test_pair_partners_are_kept_or_left_out_together(tmp_path: Path) -> None:
    """A pair whose one half is lost is no contrast; links lead to the partner's translation."""

    def spoil(_: str, text: str) -> str:
        return "" if "13" in text else text

    pairs = [row(i, root=f"r-{i // 2}", meta={"pair": f"p-{i ^ 1}"}) for i in range(10, 14)]
    rows, summary, _ = run(GERMAN, pairs, tmp_path, Translator(spoil))
    german = [one for one in rows if one.lang == "de"]
    assert [(one.id, one.meta["pair"]) for one in german] == [("p-10/de", "p-11/de"), ("p-11/de", "p-10/de")]
    assert summary.values["by_lang"]["de"]["pair partner lost"] == 1
    loose, _, _ = run(replace(GERMAN, by_family=False), pairs, tmp_path / "loose", Translator(spoil))
    assert [one.id for one in loose if one.lang == "de"] == ["p-10/de", "p-11/de", "p-12/de"]


def test_names_and_code_of_the_source_are_no_mixing(tmp_path: Path) -> None:
    """A brand, a URL and code stay as they are in a good translation."""
    source = "Please ask Jonathan Worthington whether `for row in rows: print(row)` runs at https://example.com/how-to"
    german = "Bitte frage Jonathan Worthington, ob `for row in rows: print(row)` auf https://example.com/how-to läuft"
    rows, _, _ = run(
        GERMAN, [row(1, messages=(Message(Role.USER, source),))], tmp_path, Translator(lambda *_: german)
    )  # fmt: skip
    assert rows[1].messages[0].content == german


def test_what_people_rejected_is_left_out_with_its_partner(tmp_path: Path) -> None:
    """A sheet that is read back takes its wrong rows away; those that are ok or not reviewed stay."""
    pairs = [row(i, root=f"r-{i // 2}", meta={"pair": f"p-{i ^ 1}"}) for i in range(10, 14)]
    *_, job = run(GERMAN, pairs, tmp_path / "first", Translator())
    verdicts = {"p-10/de": "harm changed", "p-12/de": "ok"}
    filled = [replace(one, verdict=verdicts.get(one.id, "")) for one in read_sheet(job.folder / SHEET)]
    assert len(filled) == 4
    write_sheet(tmp_path / "people.csv", filled)
    rows, summary, _ = run(
        replace(GERMAN, reviewed=tmp_path / "people.csv"), pairs, tmp_path / "second", Translator()
    )  # fmt: skip
    assert [one.id for one in rows if one.lang == "de"] == ["p-12/de", "p-13/de"]
    found = summary.values["by_lang"]["de"]
    assert (found["rejected by people"], found["pair partner lost"], found["made"]) == (1, 1, 2)
    assert summary.values["rejected"] == {"in_sheet": 1, "met": 1, "changed": 0}
    assert not any("people" in said for said in summary.warnings)


def test_a_sheet_of_other_translations_leaves_out_none_of_the_new_ones(tmp_path: Path) -> None:
    """What people rejected is that translation; another one of the same row is kept, and the report says so, also of
    rows that there are none of.
    """
    old = right("German", "1")
    texts = {1: old, 2: "Wie backe ich Brot?", 3: f"{right('German', '3')} \r\n", 4: "", 9: old}
    rejected = [Entry(f"p-{i}/de", "de", "", text, "harm changed") for i, text in texts.items()]
    write_sheet(tmp_path / "people.csv", rejected)
    rows, summary, _ = run(
        replace(GERMAN, reviewed=tmp_path / "people.csv"), [row(i) for i in range(1, 6)], tmp_path / "run", Translator()
    )  # fmt: skip
    assert [one.id for one in rows if one.lang == "de"] == ["p-2/de", "p-5/de"]
    assert summary.values["rejected"] == {"in_sheet": 5, "met": 3, "changed": 1}
    told = [said for said in summary.warnings if "people rejected" in said]
    assert [said.split()[0] for said in told] == ["1", "1"]


def test_the_sheet_is_a_sample_of_each_language_that_does_not_depend_on_the_order(tmp_path: Path) -> None:
    """Drawn by the ids: the same rows whoever comes first; a smaller one is its beginning."""
    rows = [row(i) for i in range(24)]
    settings = TranslateSettings("mt", ("de", "zh"), share=1.0, sheet_rows=9)
    sheets = [
        read_sheet(run(one, order, tmp_path / name, Translator())[2].folder / SHEET)
        for name, one, order in (
            ("a", settings, rows), ("b", settings, rows[::-1]), ("c", replace(settings, sheet_rows=5), rows)
        )
    ]  # fmt: skip
    assert sheets[0] == sheets[1]
    assert [entry.lang for entry in sheets[0]] == ["de"] * 9 + ["zh"] * 9
    assert sheets[2] == sheets[0][:5] + sheets[0][9:14]


def test_another_start_on_the_same_folder_asks_nobody(tmp_path: Path) -> None:
    """What was made is read back, and the output is the same."""
    rows = [row(i) for i in range(25)]
    first, _, _ = run(GERMAN, rows, tmp_path, Translator())
    model = Translator()
    second, _, _ = run(GERMAN, rows, tmp_path, model)
    assert second == first
    assert not model.calls


def test_an_estimate_counts_languages_and_the_judge() -> None:
    """Calls are rows times shares; what is made multiplies the rows."""
    settings = TranslateSettings("mt", ("de", "zh"), share=0.5, shares={"zh": 0.1}, judge="judge")
    stage = make(settings, RecipeSettings(Path("out"), models=MODELS))
    estimate = stage.estimate(Profile(n_prompts=60, n_responses=40, n_unlabelled=10))
    assert (estimate.usage["mt"].n_calls, estimate.usage["judge"].n_calls) == pytest.approx((60, 60))
    assert (estimate.after.n_prompts, estimate.after.n_unlabelled) == pytest.approx((96, 16))
    by_number = make(replace(settings, n_rows=7), RecipeSettings(Path("out"), models=MODELS))
    assert by_number.estimate(Profile(n_prompts=100)).usage["mt"].n_calls == pytest.approx(14)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TranslateSettings("who", ("de",)), "'who'"),
        (TranslateSettings("guard", ("de",)), "'guard'"),
        (replace(GERMAN, judge="who"), "'who'"),
        (TranslateSettings("mt", ()), "no language"),
        (TranslateSettings("mt", ("de", "de")), "twice"),
        (TranslateSettings("mt", ("qx",)), "no name for 'qx'"),
        (replace(GERMAN, shares={"fr": 0.1}), "'fr'"),
        (replace(GERMAN, min_ratio=3), "min_ratio"),
        (replace(GERMAN, reviewed=Path("out/translate/sheet.csv")), "makes anew"),
        (replace(GERMAN, reviewed=Path("nowhere.csv")), "cannot read nowhere.csv"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: TranslateSettings, message: str) -> None:
    """Before anything is asked."""
    models = {**MODELS, "guard": ModelSettings("guard", "default")}
    with pytest.raises(ConfigurationError, match=message):
        make(settings, RecipeSettings(Path("out"), models=models))


def test_a_recipe_file_sets_it_up(tmp_path: Path) -> None:
    """As the docs show it."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        'output = "out"\n[models.mt]\nkind = "endpoint"\n[translate]\nmodel = "mt"\nlangs = ["de", "qx"]\n'
        '[translate.shares]\nqx = 0.2\n[translate.names]\nqx = "Quenya"\n'
    )
    recipe = load_recipe(path)
    assert recipe.translate is not None
    assert make(recipe.translate, recipe).models == ("mt",)
