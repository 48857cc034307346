"""What a stage is, and what it is given to work with."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from guardrail.audit.pages.figures import Summary
from guardrail.training.recipe.calls import Ask
from guardrail.training.recipe.rows import RecipeRow

T = TypeVar("T")

OUTPUT = "rows"
"""Name of the step whose rows are what the stage hands on."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one item.

    Attributes:
        rows: made of it, in order.
        counts: what is to be counted, by name; rows that were left out are counted as `dropped: <reason>`.
    """

    rows: tuple[RecipeRow, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


Work = Callable[[T, Ask], Awaitable[Made]]
"""Turns one item into rows; a function of the item and the answers alone, since it may be done on another machine, and
twice. It can be pickled: a function of a module, a partial of one, or a frozen dataclass with `__call__`."""


class Rows(Protocol):
    """Rows in parts on the disk; may be read as often as one likes, one part in memory at a time."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What was counted while they were made."""

    def __iter__(self) -> Iterator[RecipeRow]:
        """Yield them in order."""

    def __len__(self) -> int:
        """Return how many there are."""


class Job(Protocol):
    """One run of a stage.

    Attributes:
        seed: of the recipe.
        folder: of the stage; files beside its rows, such as a sheet, go here.
        rows: the input, which is never changed.
        limit: most input rows (or prompts to make) this run is for; None for all. `rows` is cut already.
    """

    @property
    def seed(self) -> int: ...
    @property
    def folder(self) -> Path: ...
    @property
    def rows(self) -> Rows: ...
    @property
    def limit(self) -> int | None: ...

    def map(self, step: str, items: Iterable[T], work: "Work[T]", *, n_items: int) -> Rows:
        """Do work on all items, part by part, here or on a cluster; return the rows in the order of the items.

        Parts that were finished by an earlier start are not made again. Shows progress.

        Args:
            step: names the rows within the stage; `OUTPUT` for those that it hands on.
            items: in the same order at every start.
            work: see `Work`.
            n_items: how many there are.
        """

    def write(self, rows: Iterable[RecipeRow], counts: Mapping[str, int] | None = None) -> Rows:
        """Write the rows that the stage hands on, in bounded memory; for stages that make them without `map`."""

    def progress(self, title: str, n_steps: int) -> Callable[[int], None]:
        """Show a bar of work that is none of `map`'s; return what is called with the steps done since."""


CHARS_PER_TOKEN = 4
"""Of the English text of our instructions, roughly; for estimates alone."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls and tokens of one model."""

    n_calls: float = 0
    n_input: float = 0
    n_output: float = 0

    def plus(self, more: "Usage", times: float = 1) -> "Usage":
        """Return the sum with a multiple of more."""
        return Usage(
            self.n_calls + times * more.n_calls,
            self.n_input + times * more.n_input,
            self.n_output + times * more.n_output,
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of rows that may not exist yet; means are over those that have the text.

    Attributes:
        n_prompts: rows that ask for a judgement of the prompt.
        n_responses: rows that ask for one of the answer.
        n_unlabelled: rows of both kinds without a risk level.
        n_risky_responses: answers labelled Controversial or Unsafe.
        prompt_tokens: mean tokens of the user's turn.
        response_tokens: mean tokens of the answer.
    """

    n_prompts: float = 0
    n_responses: float = 0
    n_unlabelled: float = 0
    n_risky_responses: float = 0
    prompt_tokens: float = 30
    response_tokens: float = 150

    def scaled(self, share: float) -> "Profile":
        """Return the same mixture with a multiple of its rows."""
        return replace(
            self,
            n_prompts=self.n_prompts * share,
            n_responses=self.n_responses * share,
            n_unlabelled=self.n_unlabelled * share,
            n_risky_responses=self.n_risky_responses * share,
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage would cost, and what it would hand on.

    Attributes:
        usage: by name of the model.
        after: the rows that it hands on.
        assumptions: one sentence each, for what was guessed.
    """

    usage: Mapping[str, Usage]
    after: Profile
    assumptions: tuple[str, ...] = ()


class Stage(Protocol):
    """One stage, set up.

    Attributes:
        name: of the command.
        version: of its logic; another one makes what was made before stale.
        models: names of the models that it asks.
        materials: SHA-256 by name of the files that it goes by: prompts, the taxonomy.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def materials(self) -> Mapping[str, str]: ...

    def run(self, job: Job) -> Summary:
        """Read `job.rows`, hand on rows (by `job.map` with `OUTPUT`, or by `job.write`, once), and report."""

    def estimate(self, profile: Profile) -> Estimate:
        """Return what it would cost on rows like these, without asking anyone."""
