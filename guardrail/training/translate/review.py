"""What people found in a sheet of translations: error rates by language, with intervals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.audit.intervals import Interval, wilson
from guardrail.training.translate.sheet import VERDICTS, Entry, read_sheet
from guardrail.whole_files import write_whole

OK, *WRONG = VERDICTS
REVIEW = "review.json"


@dataclass(frozen=True, slots=True)
class Rate:
    """What people found of one language, or of all.

    Attributes:
        n: translations in the sheet.
        counts: reviewed ones by verdict.
    """

    n: int
    counts: Mapping[str, int]

    @property
    def n_reviewed(self) -> int:
        """Translations with a verdict."""
        return sum(self.counts.values())

    @property
    def errors(self) -> Interval:
        """Share of the reviewed ones that are not ok, with Wilson's interval at 95 %."""
        return wilson(self.n_reviewed - self.counts[OK], self.n_reviewed)


@dataclass(frozen=True, slots=True)
class Review:
    """A sheet, read back.

    Attributes:
        overall: all languages together, each by its reviewed rows: not by how many rows the data has of it.
        by_lang: by language code.
        wrong: verdicts other than ok, by id of the row.
    """

    overall: Rate
    by_lang: Mapping[str, Rate]
    wrong: Mapping[str, str]


def review(sheet: Path) -> Review:
    """Read a sheet, write `review.json` beside it and return what it holds.

    Raises:
        ConfigurationError: as `read_sheet`.
    """
    found = summed(read_sheet(sheet))
    rates = {"all": found.overall, **found.by_lang}
    values = {"sheet": sheet.name, "rates": {name: _values(one) for name, one in rates.items()}, "wrong": found.wrong}
    data = json.dumps(values, indent=2, ensure_ascii=False).encode(errors="replace")
    write_whole(sheet.with_name(REVIEW), data + b"\n")
    return found


def summed(entries: Sequence[Entry]) -> Review:
    """Return what entries say; those without a verdict count as not reviewed."""
    langs = sorted({one.lang for one in entries})
    by_lang = {lang: _rate([one for one in entries if one.lang == lang]) for lang in langs}
    return Review(_rate(entries), by_lang, {one.id: one.verdict for one in entries if one.verdict in WRONG})


def _rate(entries: Sequence[Entry]) -> Rate:
    return Rate(len(entries), {verdict: sum(one.verdict == verdict for one in entries) for verdict in VERDICTS})


def _values(rate: Rate) -> dict[str, object]:
    errors = rate.errors
    return {
        "n": rate.n, "reviewed": rate.n_reviewed, "verdicts": dict(rate.counts),
        "error_rate": errors.value if rate.n_reviewed else None, "low": errors.low, "high": errors.high,
    }  # fmt: skip
