"""What `translate` reports: rows by language, what was left out and why, and how much of it mixes languages."""

from collections.abc import Mapping, Sequence

from guardrail.audit.pages.figures import Matrix, Summary, Table
from guardrail.training.translate.languages import base_code, is_detected, name_of
from guardrail.training.translate.merging import CHANGED, MET
from guardrail.training.translate.scripts import scripts_of
from guardrail.training.translate.settings import TranslateSettings
from guardrail.training.translate.translating import SHARES

REASONS = (
    "nothing to translate", "call refused", "unreadable answer", "empty translation", "length out of bounds",
    "not translated", "wrong language", "mixed languages", "not judged", "meaning changed", "harm changed",
    "pair partner lost", "rejected by people",
)  # fmt: skip
"""Why translations are left out, in the order in which it is looked for."""

_MUCH = 0.2
"""Share of a language's translations that are left out from which on it is worth a warning. Our choice."""


def report(settings: TranslateSettings, counts: Mapping[str, int], *, sheet: str, n_rejected: int = 0) -> Summary:
    """Return the summary of a run from what was counted.

    Args:
        settings: of the stage.
        counts: of the whole run.
        sheet: name of the sheet; empty if there is none.
        n_rejected: rows that people rejected in the sheet that was named.
    """
    langs = settings.langs
    by_lang = {lang: {key: counts.get(f"{key}: {lang}", 0) for key in ("asked", "made", *REASONS)} for lang in langs}
    met = [reason for reason in REASONS if any(one[reason] for one in by_lang.values())]
    rows = [(lang, name_of(lang), *(by_lang[lang][key] for key in ("asked", "made", *met))) for lang in langs]
    table = Table("Translations by language", ("code", "language", "chosen", "kept", *met), rows)
    bins = ["0", *(f"to {end:.0%}" for end in SHARES[1:]), f"above {SHARES[-1]:.0%}"]
    shares = [[counts.get(f"share {i}: {lang}", 0) for i in range(len(bins))] for lang in langs]
    matrix = Matrix(
        "Share of another language in translations, before those that mix are left out", langs, bins, shares,
        "language", "share of letters",
    )  # fmt: skip
    not_looked = {lang: counts.get(f"language not looked at: {lang}", 0) for lang in langs}
    rejected = {"in_sheet": n_rejected, "met": counts.get(MET, 0), "changed": counts.get(CHANGED, 0)}
    values = {
        "by_lang": by_lang, "sheet": sheet, "language_not_looked_at": not_looked,
        "starts_lost": counts.get("first risky character not carried over", 0), "rejected": rejected,
    }  # fmt: skip
    return Summary(values, (table, matrix), (*_warnings(langs, by_lang), *_of_sheet(rejected)))


def _of_sheet(rejected: Mapping[str, int]) -> list[str]:
    """Return what does not fit between the sheet and the rows."""
    told, n_missing = [], rejected["in_sheet"] - rejected["met"] - rejected["changed"]
    if rejected["changed"]:
        told.append(
            f"{rejected['changed']} rows that people rejected have another translation now than in their sheet: these "
            "were kept, and nobody has looked at them."
        )
    if n_missing:
        told.append(f"{n_missing} rows that people rejected are no translations of this run, or were left out before.")
    return told


def _warnings(langs: Sequence[str], by_lang: Mapping[str, Mapping[str, int]]) -> list[str]:
    told = []
    for lang in langs:
        n, n_made = by_lang[lang]["asked"], by_lang[lang]["made"]
        if n and n - n_made > _MUCH * n:
            told.append(f"More than {_MUCH:.0%} of the translations to {lang} were left out.")
        if not is_detected(base_code(lang)) and scripts_of(base_code(lang)) == ("Latin",):
            told.append(f"No detector knows {lang}: only other scripts are found in its translations, not English.")
    return told
