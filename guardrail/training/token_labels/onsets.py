"""The work on one row: where its answer turns risky, found in the chosen mode, and in the exact one to compare."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.errors import CallRefused
from guardrail.taxonomy import RiskLevel
from guardrail.training.recipe.calls import Ask
from guardrail.training.recipe.prompts import Prompts
from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.recipe.stage import Made
from guardrail.training.token_labels.places import Place, ends_of, places_of
from guardrail.training.token_labels.rollouts import Vote
from guardrail.training.token_labels.search import first_place
from guardrail.training.token_labels.settings import Mode, Spans, TokenLabelsSettings
from guardrail.training.token_labels.signs import AnswerSigns, Tally

N_BINS = 10
"""Bars of the histogram of onsets. Our choice."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Where an answer turns risky.

    Attributes:
        place: the first beginning that is risky.
        vote: of the rollouts there; None where the rule takes none.
        mode: that found it.
    """

    place: Place
    vote: Vote | None
    mode: Mode

    def to_meta(self) -> dict[str, Any]:
        """Return what a row notes of it."""
        values: dict[str, Any] = {"token": self.place.token, "char": self.place.start, "mode": self.mode}
        if self.vote:
            values |= {"vote": round(self.vote.share, 4), "n_judged": self.vote.n_judged}
        return values


@dataclass(frozen=True, slots=True)
class FindOnset:
    """Labels one row; implements `Work`.

    Attributes:
        settings: of the stage.
        prompts: of the stage.
        tokenizer: text of the guard's tokenizer.json.
        compared_below: rows whose `place_of` is at most this are done in mode "exact" as well.
        salt: of that draw.
    """

    settings: TokenLabelsSettings
    prompts: Prompts
    tokenizer: str
    compared_below: float = -1.0
    salt: str = ""

    async def __call__(self, row: RecipeRow, ask: Ask) -> Made:
        """Return the row with its onset; none if it has none."""
        if not is_asked_about(row, self.settings.spans):
            return Made((row,), {"rows passed on": 1})
        text = row.messages[-1].content
        places = places_of(_read_tokenizer(self.tokenizer), text)
        tally = Tally(ask)
        try:
            onset = await self._search(row, places, self.settings.mode, tally)
        except CallRefused:
            kept, counts = self._left(row, "a call was refused")
        else:
            kept, counts = self._labelled(row, places, onset)
            if self._is_compared(row):
                counts = {**counts, **await self._compare(row, places, onset, tally)}
        return Made(kept, tally.counts + Counter({"rows asked about": 1}) + Counter(counts))

    def _is_compared(self, row: RecipeRow) -> bool:
        return place_of(row.id, self.salt) <= self.compared_below

    async def _search(self, row: RecipeRow, places: Sequence[Place], mode: Mode, tally: Tally) -> Onset | None:
        text = row.messages[-1].content
        context = tuple(replace(message, reasoning=None) for message in row.messages[:-1])
        signs = AnswerSigns(context, text, places, self.settings, self.prompts, tally)
        found = await first_place(ends_of(places, text, mode, self.settings), signs)
        return None if found is None else Onset(places[found], signs.votes.get(found), mode)

    async def _compare(
        self, row: RecipeRow, places: Sequence[Place], onset: Onset | None, tally: Tally
    ) -> Mapping[str, int]:
        """Return how the chosen mode does beside the exact one, whose calls are counted apart."""
        exactly = Tally(tally.ask)
        try:
            exact = await self._search(row, places, "exact", exactly)
        except CallRefused:
            return {"not compared: a call was refused": 1}
        counts = {
            "compared": 1,
            "compared: calls": _n_calls(tally.counts),
            "compared: calls in mode exact": _n_calls(exactly.counts),
            "compared: neither finds an onset": int(onset is None and exact is None),
            "compared: only mode exact finds one": int(onset is None and exact is not None),
            "compared: only the chosen mode finds one": int(onset is not None and exact is None),
        }
        return counts | (_offsets("compared", onset.place.token, exact.place.token) if onset and exact else {})

    def _labelled(
        self, row: RecipeRow, places: Sequence[Place], onset: Onset | None
    ) -> tuple[tuple[RecipeRow, ...], Mapping[str, int]]:
        """Return the row as it is handed on, if it is, and what is counted of it."""
        if onset is None:
            return self._left(row, "no onset")
        span = row.unsafe_start_char
        counts: dict[str, int] = {"onsets found": 1, f"onset: {_bin(onset.place, places)}": 1}
        if span is not None:
            counts |= {"spans": 1} | _offsets("spans", onset.place.token, _token_of(span, places))
        start = span if self._keeps_span(row) else onset.place.start
        return (replace(row, unsafe_start_char=start, meta={**row.meta, "onset": onset.to_meta()}),), counts

    def _left(self, row: RecipeRow, reason: str) -> tuple[tuple[RecipeRow, ...], Mapping[str, int]]:
        """Return a row without an onset, which is dropped unless it has a span to keep."""
        if self._keeps_span(row):
            return (row,), {f"spans without an onset: {reason}": 1}
        return (), {f"dropped: {reason}": 1}

    def _keeps_span(self, row: RecipeRow) -> bool:
        return row.unsafe_start_char is not None and (self.settings.spans == "compare" or row.is_human)


def is_asked_about(row: RecipeRow, spans: Spans) -> bool:
    """Whether a row's onset is to be found: an answer that is labelled unsafe or controversial."""
    is_risky = row.target is Direction.RESPONSE and row.risk not in (None, RiskLevel.SAFE)
    return is_risky and (row.unsafe_start_char is None or spans != "leave")


def _token_of(start: int, places: Sequence[Place]) -> int:
    """Return the first token that reaches behind a character; the last one if none does."""
    return next((place.token for place in places if place.end > start), places[-1].token)


def _bin(place: Place, places: Sequence[Place]) -> int:
    """Return which tenth of the answer, in characters, an onset begins in."""
    return min(N_BINS - 1, N_BINS * place.start // places[-1].end)


def _offsets(name: str, found: int, true: int) -> dict[str, int]:
    """Return counts that say how far, in tokens, a found onset lies from another one."""
    return {
        f"{name}: same token": int(found == true),
        f"{name}: earlier": int(found < true),
        f"{name}: later": int(found > true),
        f"{name}: tokens earlier": max(0, true - found),
        f"{name}: tokens later": max(0, found - true),
    }


def _n_calls(counts: Mapping[str, int]) -> int:
    return sum(n for name, n in counts.items() if name.startswith("calls: "))


@lru_cache(maxsize=1)
def _read_tokenizer(text: str) -> GuardTokenizer:
    return GuardTokenizer(text)
