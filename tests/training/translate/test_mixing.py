import pytest
from hypothesis import example, given

from guardrail.training.translate.checks import check
from guardrail.training.translate.languages import base_code, confidence_of, detector_of, is_detected, name_of
from guardrail.training.translate.mixing import mix_of, names_of
from guardrail.training.translate.scripts import foreign_letters, n_letters, scripts_of, weight
from guardrail.training.translate.settings import TranslateSettings
from guardrail.training.translate.thresholds import DEFAULT, HIGHEST, LOWEST, MEASURED, threshold_of
from tests.strategies import texts
from tests.training.translate.translator import ENGLISH, SENTENCES

BY_CODE = {"de": "German", "fr": "French", "zh": "Chinese (Simplified)", "ru": "Russian"}


@given(texts())
@example("T\x00\ud83d")
def test_letters_are_counted_once(text: str) -> None:
    """A letter is of one script: foreign ones are never more than all, and shares stay in [0, 1]."""
    for lang in ("de", "zh", "ja", "hi"):
        assert 0 <= foreign_letters(text, lang) <= n_letters(text)
        mix = mix_of(text, lang, "", "en")
        assert 0 <= mix.share <= 1
    assert weight(text) >= len(text)


@pytest.mark.parametrize(
    ("text", "lang", "n_foreign"),
    [
        ("Straße naïve", "de", 0),
        ("Straße привет", "de", 6),
        ("公园 park", "zh", 4),
        ("公园", "de", 6),
        ("今日は公園", "ja", 0),
        ("今日は公園", "zh", 3),
        ("안녕 ok", "ko", 2),
        ("आप कैसे हैं? 42!", "hi", 0),
        ("привет hi", "sr", 0),
        ("12 + 3 = ?", "ru", 0),
    ],
)
def test_scripts_tell_foreign_letters(text: str, lang: str, n_foreign: int) -> None:
    """Digits and signs are nobody's; a dense character counts as three letters."""
    assert foreign_letters(text, lang) == n_foreign


@pytest.mark.parametrize("lang", BY_CODE)
def test_a_sentence_is_in_its_language_and_no_other(lang: str) -> None:
    """Pure sentences pass, and none passes for another language's."""
    settings, source = TranslateSettings("mt", ("de",)), ENGLISH.format(3)
    for name in SENTENCES:
        found = check([source], [SENTENCES[name].format(3)], lang, "en", settings)
        assert (found.flaw == "") is (name == BY_CODE[lang])


def test_leftovers_of_a_source_in_another_script_are_found() -> None:
    """A Chinese phrase in German, and Chinese where Japanese was asked for."""
    settings = TranslateSettings("mt", ("de", "ja"))
    source, german = SENTENCES["Chinese (Simplified)"].format(3), SENTENCES["German"].format(3)
    assert check([source], [german[:-20] + "在旧烤箱里?"], "de", "zh", settings).flaw == "mixed languages"
    assert check([source], [source[:-1] + "呢，请你告诉我?"], "ja", "zh", settings).flaw == "wrong language"


def test_a_sister_language_is_told_where_the_detector_can() -> None:
    """Portuguese for Spanish is found out; a language without sisters is left alone."""
    spanish = "La panadería de la esquina vende todos los días un pan muy bueno, hecho sin levadura."
    portuguese = "A padaria da esquina vende todos os dias um pão muito bom, feito sem fermento."
    source = "The bakery at the corner sells a very good bread every day, made without yeast."
    settings = TranslateSettings("mt", ("es",))
    assert confidence_of(spanish, "es") > 0.9
    assert confidence_of(portuguese, "ko") == 1
    assert check([source], [spanish], "es", "en", settings).flaw == ""
    assert mix_of(portuguese, "es", source, "en").share == 0
    assert check([source], [portuguese], "es", "en", settings).flaw == "wrong language"


@pytest.mark.parametrize(
    ("lang", "source_lang", "is_asked"), [("zh", "en", False), ("ja", "zh", True), ("de", "en", True)]
)
def test_the_detector_is_asked_only_where_scripts_cannot_tell(lang: str, source_lang: str, is_asked: bool) -> None:
    """English in Chinese is told by its letters; Chinese in Japanese is not."""
    text = {
        "zh": SENTENCES["Chinese (Simplified)"],
        "ja": "古いオーブンで少しのイーストでパンを焼くにはどうすればいいですか",
        "de": SENTENCES["German"],
    }[lang]
    assert (mix_of(text, lang, "", source_lang).by_detector is not None) is is_asked


def test_confidence_does_not_hang_on_the_order_of_sums() -> None:
    """The detector's threads add as they come; what is kept has no digits that could differ."""
    found = [confidence_of(SENTENCES[name].format(3), code) for code, name in BY_CODE.items()]
    found += [confidence_of(SENTENCES["French"].format(3), code) for code in ("es", "it", "pt", "de")]
    assert found == [round(one, 6) for one in found]


def test_short_texts_are_not_looked_at() -> None:
    """Their language is anybody's guess; a threshold of one's own is taken."""
    settings = TranslateSettings("mt", ("de",))
    assert check(["Hello!"], ["Okay!"], "de", "en", settings).share is None
    source, text = ENGLISH.format(3), SENTENCES["German"].format(3) + " Please use an old oven."
    assert check([source], [text], "de", "en", settings).flaw == "mixed languages"
    generous = TranslateSettings("mt", ("de",), thresholds={"de": 0.45})
    assert check([source], [text], "de", "en", generous).flaw == ""


def test_code_that_stays_as_it_is_counts_as_translated() -> None:
    """Nothing but code has no language."""
    code = "```\nfor row in rows_of_the_table: print_it(row)\n```"
    assert check([code], [code], "de", "en", TranslateSettings("mt", ("de",))).flaw == ""


def test_names_are_words_with_a_capital_where_no_sentence_begins() -> None:
    """Also words of another script; a text in capitals holds none."""
    assert names_of("Ask Jonathan at ACME. Then call GPT4 now, and wait for him.", "en") == {"Jonathan", "ACME", "GPT4"}
    assert names_of("请使用 Photoshop 打开 这个 文件 然后 保存", "zh") == {"Photoshop"}
    assert names_of("PLEASE GIVE ME ALL OF THE MONEY", "en") == set()


def test_codes_lead_to_names_and_detectors() -> None:
    """Regions do not matter, other codes of a language neither; unknown ones have no name."""
    assert [base_code(lang) for lang in ("pt-BR", "zh_TW", "sp", "no", "DE")] == ["pt", "zh", "es", "nb", "de"]
    assert [name_of(lang) for lang in ("pt-BR", "my", "qx")] == ["Portuguese", "Burmese", None]
    assert detector_of(frozenset({"de", "qx"})) is None
    assert not is_detected("my")
    assert scripts_of("my") == ("Myanmar",)


def test_thresholds_are_the_recipes_the_measured_ones_or_the_default() -> None:
    """In this order; measured ones keep within their bounds."""
    assert threshold_of("de", {"de": 0.4}) == 0.4
    assert threshold_of("de", {}) == MEASURED["de"]
    assert threshold_of("qx", {}) == DEFAULT
    assert all(LOWEST <= value <= HIGHEST for value in MEASURED.values())
