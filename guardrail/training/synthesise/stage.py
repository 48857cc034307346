"""The stage `synthesise`: prompts by Self-Instruct over a taxonomy, by keywords and in contrastive pairs.

The report names the three ways and no more. Subtopics, keywords, what generators are told, shares, rounds and when to
stop are ours; examples in context and the novelty threshold are Self-Instruct's, which compares all pairs: here a new
prompt is held against the candidates that MinHash finds. Made prompts have no label: what was intended stands in
`meta.intended`, and `annotate` says what they are.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING

from guardrail.audit.pages.figures import Summary
from guardrail.conversation import Role
from guardrail.errors import ConfigurationError
from guardrail.training.recipe.prompts import Prompts, load_prompts
from guardrail.training.recipe.rows import RecipeRow, hash_of
from guardrail.training.recipe.settings import RecipeSettings
from guardrail.training.recipe.stage import CHARS_PER_TOKEN, Estimate, Job, Profile, Stage, Usage
from guardrail.training.synthesise.cells import MODES, Cell, cells_of
from guardrail.training.synthesise.settings import SynthesiseSettings
from guardrail.training.synthesise.taxonomy import Taxonomy, load_taxonomy

if TYPE_CHECKING:
    from guardrail.training.synthesise.growing import Growth

_KEPT = 0.7
"""Share of written prompts that are kept, for estimates. A guess of ours."""

_PREFIX = "syn"
"""Of the ids of new rows, with a number behind it where input rows begin so."""

VALUES = ("n", "language", "category", "definition", "subtopic", "about", "keyword", "twin", "examples")
"""What the prompts file may ask for."""

_GUARD_TOKENS, _JUDGEMENT_TOKENS = 600, 15
"""Of the guard's own prompt and of its answer, for estimates: counted once on Qwen3Guard-Gen's template, rounded up."""


@dataclass(frozen=True, slots=True)
class Synthesise:
    """See `Stage`."""

    settings: SynthesiseSettings
    prompts: Prompts
    taxonomy: Taxonomy
    name: str = "synthesise"
    version: int = 1

    @property
    def models(self) -> tuple[str, ...]:
        """See `Stage`."""
        judge = (self.settings.judge,) if self.settings.judge else ()
        return tuple(dict.fromkeys((*self.settings.generators, *judge)))

    @property
    def materials(self) -> Mapping[str, str]:
        """See `Stage`."""
        return {"prompts": self.prompts.sha256, "taxonomy": self.taxonomy.sha256}

    def run(self, job: Job) -> Summary:
        """See `Stage`."""
        from guardrail.training.synthesise.growing import kept_rows
        from guardrail.training.synthesise.report import Tale
        from guardrail.training.synthesise.writing import Writing

        n_prompts = self.settings.n_prompts if job.limit is None else min(job.limit, self.settings.n_prompts)
        cells = cells_of(self.settings, self.taxonomy, n_prompts, job.seed)
        growth = self._growth(job, cells)
        work, done, tale = Writing(self.settings, self.prompts.fill("system").strip()), [], Tale(self.settings, cells)
        for number in range(1, self.settings.max_rounds + 1):
            round_ = growth.plan(number)
            if not round_.asked:
                break
            rows = job.map(f"round-{number:03}", growth.orders(round_), work, n_items=len(round_.asked))
            before = Counter(growth.counts)
            done.append((rows, growth.sift(round_, rows)))
            tale.add_round(Counter(rows.counts) + (growth.counts - before), growth.grown)
        made = (row for rows, measures in done for row in kept_rows(rows, measures))
        job.write(chain(job.rows, tale.met(made)), dict(sorted(tale.counts.items())))
        return tale.summary(growth.grown)

    def estimate(self, profile: Profile) -> Estimate:
        """See `Stage`."""
        s = self.settings
        cells = cells_of(s, self.taxonomy, s.n_prompts, 0)
        usage = dict.fromkeys(self.models, Usage())
        for mode in MODES:
            wanted = [cell.n_units for cell in cells if cell.mode == mode]
            n_units, n_calls = sum(wanted) / _KEPT, sum(ceil(n / s.prompts_per_call) for n in wanted) / _KEPT
            n_input = len(self.prompts.texts["system"] + self.prompts.texts[mode]) / CHARS_PER_TOKEN
            n_input += (s.human_examples + s.made_examples) * profile.prompt_tokens
            n_output = n_units / max(1, n_calls) * profile.prompt_tokens * (1 + (mode == "pair"))
            written = Usage(1, n_input, min(n_output, s.answer_tokens))
            for name in s.generators:
                usage[name] = usage[name].plus(written, n_calls / len(s.generators))
            if mode == "pair" and s.judge:
                judged = Usage(1, _GUARD_TOKENS + profile.prompt_tokens, _JUDGEMENT_TOKENS)
                usage[s.judge] = usage[s.judge].plus(judged, 2 * n_units)
        after = replace(
            profile, n_prompts=profile.n_prompts + s.n_prompts, n_unlabelled=profile.n_unlabelled + s.n_prompts
        )  # fmt: skip
        told = f"{_KEPT:.0%} of the prompts that are written are kept, each of {profile.prompt_tokens:g} tokens"
        return Estimate(usage, after, (told,))

    def _growth(self, job: Job, cells: list[Cell]) -> "Growth":
        """Return what grows from the input rows."""
        from guardrail.training.recipe.duplicates import NearDuplicates, fingerprint
        from guardrail.training.synthesise.examples import Examples
        from guardrail.training.synthesise.growing import Grown, Growth

        known, examples, taken = NearDuplicates(self.settings.novelty), Examples(job.seed), set[str]()
        met, progress = set[int](), job.progress("reading what there is", len(job.rows))
        # no longer text can be as like a prompt as the threshold
        most = self.settings.max_tokens * (2 - self.settings.novelty) / self.settings.novelty
        for row in job.rows:
            progress(1)
            if row.id.startswith(_PREFIX):
                taken.add(row.id.partition("/")[0])
            text = prompt_of(row)
            if (digest := hash_of(text)) in met:
                continue
            print_ = fingerprint(text)
            if len(print_) <= most:
                met.add(digest)
                known.add_print(len(known), print_)
            if len(print_) <= self.settings.max_tokens:
                examples.meet(row, text)
        prefix = next(name for i in range(len(taken) + 1) if (name := f"{_PREFIX}{i or ''}") not in taken)
        return Growth(
            self.settings, self.prompts, job.seed, prefix, known, examples, [Grown(cell) for cell in cells]
        )  # fmt: skip


def prompt_of(row: RecipeRow) -> str:
    """Return the last thing that a user says in a row, else what is judged."""
    return next((m.content for m in reversed(row.messages) if m.role is Role.USER), row.judged_text)


def make(settings: SynthesiseSettings, recipe: RecipeSettings) -> Stage:
    """Return the stage.

    Raises:
        ConfigurationError: there is no generator, or one that cannot write, settings contradict each other, or the
            files of prompts and subtopics cannot be read or do not fit them.
    """
    if not settings.generators:
        raise ConfigurationError("synthesise has no model that writes", hint='set `generators = ["..."]`')
    for name in settings.generators:
        if (model := recipe.models.get(name)) and model.kind == "guard":
            raise ConfigurationError(f"synthesise: {name!r} is a guard, which writes nothing", hint="use another kind")
    if settings.keyword_share + settings.pair_share > 1:
        raise ConfigurationError("synthesise: keyword_share and pair_share add up to more than 1", hint="lower one")
    if settings.min_tokens > settings.max_tokens:
        raise ConfigurationError("synthesise: min_tokens is above max_tokens", hint="lower it")
    if not settings.langs:
        raise ConfigurationError("synthesise: no language to write in", hint="set `langs = {en = 1}`")
    taxonomy = load_taxonomy(settings.taxonomy).only(settings.categories)
    stage = Synthesise(settings, load_prompts("synthesise", settings.prompts), taxonomy)
    cells_of(settings, taxonomy, settings.n_prompts, recipe.seed)
    for text in ("system", "examples", *MODES):
        stage.prompts.fill(text, **dict.fromkeys(VALUES, ""))
    return stage
