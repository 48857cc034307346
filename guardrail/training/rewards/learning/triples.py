"""Rows to triples: a harmless request with its own answer, another request's answer, and a refusal."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from guardrail.conversation import Message, Role, to_messages
from guardrail.errors import ConfigurationError
from guardrail.training.corpus import family_of, is_held_out
from guardrail.training.examples import Source, select_rows
from guardrail.training.refusal_phrases import is_refusal
from guardrail.training.rewards.learning.refusal_texts import REFUSAL_TEXTS

MOST_REFUSAL_CHARS = 400
"""Longest refusal that is taken from data: longer ones go on to answer something. Ours."""

HELD_OUT_REFUSALS = 5
"""One refusal in this many, by the hash of its text, is for measuring alone: else the model is measured on what it has
learned by heart. Ours."""

FALLBACK = "en"
"""Language whose refusals stand in where a row's own has none."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A request and three answers, from the best to the worst.

    Attributes:
        prompt: the conversation up to the last user turn.
        real: its own answer.
        shuffled: the answer to another request of the same file and language.
        refusal: refuses.
        lang: language of the row.
    """

    prompt: tuple[Message, ...]
    real: str
    shuffled: str
    refusal: str
    lang: str

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The better and the worse answer of each pair, in the order of `PAIRS`."""
        return ((self.real, self.shuffled), (self.real, self.refusal), (self.shuffled, self.refusal))


PAIRS = ("real_over_shuffled", "real_over_refusal", "shuffled_over_refusal")
"""Names of the pairs."""


@dataclass(slots=True)
class Triples:
    """What a run learns from.

    Attributes:
        training: to learn from.
        held_out: to measure on; neither their requests nor their refusals are in `training`.
        counts: what was taken and left, for the log.
    """

    training: list[Triple] = field(default_factory=list)
    held_out: list[Triple] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answered:
    prompt: tuple[Message, ...]
    answer: str
    lang: str
    is_held_out: bool


def read_triples(data_dir: Path, sources: Mapping[str, Source], refusals: Mapping[str, Source], seed: int) -> Triples:
    """Return the triples of all files.

    Args:
        data_dir: folder of the files.
        sources: file name -> how it is used.
        refusals: files that refusals are taken from besides.
        seed: of the draws.

    Raises:
        ConfigurationError: a file cannot be read, or no row of all can be used.
    """
    kept = _Refusals(data_dir, refusals, seed)
    found, counts = Triples(), {"refusals": kept.n_training, "held_out_refusals": kept.n_held_out, "unusable": 0}
    for number, (name, source) in enumerate(sources.items()):
        rows = select_rows(data_dir / name, source, seed)
        groups: dict[tuple[str, bool], list[_Answered]] = defaultdict(list)
        for answered in filter(None, map(_answered, rows)):
            groups[answered.lang, answered.is_held_out].append(answered)
        random = np.random.default_rng([seed, number])
        made = [triple for group in groups.values() for triple in _triples(group, kept, random)]
        counts["unusable"] += len(rows) - len(made)
        for triple, is_apart in made:
            (found.held_out if is_apart else found.training).extend([triple] * (1 if is_apart else source.repeat))
    if not found.training:
        raise ConfigurationError(
            "no answers to train on", hint="sources need Safe answers to a user's turn, two of a language at least"
        )
    found.counts = {"training": len(found.training), "held_out": len(found.held_out), **counts}
    return found


def _answered(row: Mapping[str, Any]) -> _Answered | None:
    """Return a row's request and answer; None if it is no harmless request with an answer that answers."""
    if row["target"] != "response" or row["risk"] != "safe" or row.get("refusal"):
        return None
    *prompt, last = to_messages(row["messages"])
    answer = last.content.strip()
    if last.role is not Role.ASSISTANT or last.tool_calls or not prompt or prompt[-1].role is not Role.USER:
        return None
    if not answer or is_refusal(answer):
        return None
    return _Answered(tuple(prompt), answer, row["lang"], is_held_out(family_of(prompt)))


def _triples(
    group: Sequence[_Answered], refusals: "_Refusals", random: np.random.Generator
) -> Iterator[tuple[Triple, bool]]:
    """Yield a triple for each row that finds another answer in its group: each row's answer goes to one other row."""
    order = random.permutation(len(group))
    for place, i in enumerate(order):
        row, other = group[i], group[order[(place + 1) % len(group)]]
        if other.answer == row.answer:
            continue
        refusal = refusals.draw(row.lang, random, is_held_out=row.is_held_out)
        yield Triple(row.prompt, row.answer, other.answer, refusal, row.lang), row.is_held_out


class _Refusals:
    """Refusals by language, those for measuring apart."""

    def __init__(self, data_dir: Path, files: Mapping[str, Source], seed: int) -> None:
        pools: dict[str, list[str]] = defaultdict(list, {lang: [*texts] for lang, texts in REFUSAL_TEXTS.items()})
        for name, source in files.items():
            for row in select_rows(data_dir / name, source, seed):
                text = row["messages"][-1]["content"].strip()
                if row.get("refusal") and len(text) <= MOST_REFUSAL_CHARS and is_refusal(text):
                    pools[row["lang"]].append(text)
        self._pools = {
            (lang, apart): [text for text in dict.fromkeys(texts) if _is_apart(text) is apart]
            for lang, texts in pools.items()
            for apart in (False, True)
        }
        self.n_training, self.n_held_out = (
            sum(len(texts) for (_, apart), texts in self._pools.items() if apart is kind) for kind in (False, True)
        )

    def draw(self, lang: str, random: np.random.Generator, *, is_held_out: bool) -> str:
        """Return a refusal in a language, or in another one where it has none of that kind."""
        pool = self._pools.get((lang, is_held_out)) or self._pools[FALLBACK, is_held_out]
        return pool[int(random.integers(len(pool)))]


def _is_apart(text: str) -> bool:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % HELD_OUT_REFUSALS == 0
