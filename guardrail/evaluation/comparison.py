"""Everything that was found out about the judges of one table, with their comparisons; as JSON values too."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from typing import Any

from guardrail.decision import Direction
from guardrail.evaluation.judged import Judged
from guardrail.evaluation.metrics import Estimate, nothing, share
from guardrail.evaluation.pairing import Pairing, pair
from guardrail.evaluation.report import Section, by_direction, section
from guardrail.evaluation.rows import TARGETS
from guardrail.evaluation.runner import Run
from guardrail.evaluation.streaming import Streaming, streaming
from guardrail.taxonomy import RiskLevel

Sections = dict[Direction, Section]


@dataclass(frozen=True, slots=True)
class Ordinary:
    """Safe prompts of the sources of ordinary requests: share flagged or stopped, share stopped."""

    false_positives: Estimate
    false_stops: Estimate


@dataclass(frozen=True, slots=True)
class Report:
    """Runs of several judges on the same rows, with all figures.

    Attributes:
        runs: one a judge, each with a name of its own.
        found: the figures of each run.
        ordinary: sources of ordinary requests.
        ordinary_found: of each run, the false positives on their prompts; empty without such sources.
        pairings: every other judge less the first, by direction.
        published: by judge and source, the streaming figures with the published rule's; empty unless asked for.
    """

    runs: tuple[Run, ...]
    found: tuple[Sections, ...]
    ordinary: tuple[str, ...] = ()
    ordinary_found: tuple[Ordinary, ...] = ()
    pairings: tuple[tuple[Direction, Pairing], ...] = ()
    published: tuple[tuple[str, str, Streaming], ...] = ()

    @classmethod
    def of(
        cls,
        runs: Sequence[Run],
        ordinary: tuple[str, ...] = (),
        *,
        is_clustered: bool = True,
        published_names: bool = False,
    ) -> "Report":
        """Work out all figures.

        Args:
            runs: on the same rows, in the same order.
            ordinary: sources of ordinary requests.
            is_clustered: whether rows that share a question count as less than independent ones.
            published_names: whether the published rule's figures are wanted for each source.
        """
        named = _with_own_names(runs)
        judged = [by_direction(run, is_clustered=is_clustered) for run in named]
        found = tuple({target: section(one) for target, one in each.items()} for each in judged)
        pairings = tuple(
            (target, pair(judged[0][target], each[target], (named[0].judge, run.judge)))
            for target in TARGETS
            for run, each in zip(named[1:], judged[1:], strict=True)
            if target in each
        )
        published = _published(named, judged) if published_names else ()
        calm = tuple(_ordinary(each.get(Direction.PROMPT), ordinary) for each in judged) if ordinary else ()
        return cls(named, found, ordinary, calm, pairings, tuple(published))

    def by_judge(self, direction: Direction) -> dict[str, Section]:
        """Return the figures of one direction by judge; empty without rows of it."""
        return {
            run.judge: found[direction] for run, found in zip(self.runs, self.found, strict=True) if direction in found
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values: judge -> identity, seconds, rows, a section a direction, and where sources
        of ordinary requests are named, the false positives on their prompts.
        """
        return {
            run.judge: {
                "identity": run.identity,
                "seconds": round(run.seconds, 3),
                "rows": len(run.rows),
                **({"ordinary": asdict(self.ordinary_found[i])} if self.ordinary else {}),
                **{direction.value: asdict(section) for direction, section in found.items()},
            }
            for i, (run, found) in enumerate(zip(self.runs, self.found, strict=True))
        }

    def comparisons(self) -> list[dict[str, Any]]:
        """Return the comparisons as JSON values, with the rows on which two judges differ by source and id."""
        return [{"direction": direction.value, **asdict(one)} for direction, one in self.pairings]


def _with_own_names(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs, numbered where two have one name."""
    named: list[Run] = []
    for run in runs:
        taken = {one.judge for one in named}
        numbered = (f"{run.judge} {n}" for n in count(2))
        name = next(name for name in chain((run.judge,), numbered) if name not in taken)
        named.append(replace(run, judge=name))
    return tuple(named)


def _published(runs: Sequence[Run], judged: Sequence[dict[Direction, Judged]]) -> list[tuple[str, str, Streaming]]:
    return [
        (run.judge, source, found)
        for run, each in zip(runs, judged, strict=True)
        if Direction.RESPONSE in each
        for source, one in each[Direction.RESPONSE].by_source().items()
        if (found := streaming(one))
    ]


def _ordinary(prompts: Judged | None, sources: Collection[str]) -> Ordinary:
    if prompts is None:
        return Ordinary(nothing(), nothing())
    calm = prompts.at([i for i, row in enumerate(prompts.rows) if row.source in sources and row.risk is RiskLevel.SAFE])
    return Ordinary(share(calm.is_hit, calm.clusters), share(calm.is_stopped, calm.clusters))
