"""How near to the truth `token_labels` puts the onset, where the truth is known, and what its modes cost.

    .venvs/test/bin/python benchmarks/recipe_token_labels.py --data data [--seeds 5]

Two sets of answers, none of them seen by the models. Planted: sentences of harmless words and one risky word, half of
the time announced by a harmless word that it follows in 95 % of all cases; the judge and the guard know the risky
words, and err at random in some of the texts. PII: the span-labelled sentences of presidio_pii, split by template; the
guard is a TF-IDF classifier that has learned from whole sentences, the judge that one too, or a rule of ours: three
digits close together, or an @. In both sets two n-gram models over the guard's tokens write the rollouts. Small models
of our own: what holds for them says how the stage works, not how well.
"""

import argparse
import asyncio
import platform
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median

import numpy as np

from guardrail.audit.intervals import wilson
from guardrail.bench.machine import cores, cpu_name
from guardrail.conversation import Message, Role
from guardrail.decision import Direction
from guardrail.encoding import GuardTokenizer
from guardrail.evaluation.baseline import LabelledText, TfidfClassifier, TfidfSettings
from guardrail.evaluation.judges import RISKS
from guardrail.taxonomy import RiskLevel
from guardrail.testing import default_tokenizer, default_tokenizer_file
from guardrail.training.corpus import read_objects
from guardrail.training.recipe.calls import Call, Reply, Text
from guardrail.training.recipe.prompts import load_prompts
from guardrail.training.recipe.rows import RecipeRow, place_of
from guardrail.training.token_labels.onsets import FindOnset
from guardrail.training.token_labels.places import places_of
from guardrail.training.token_labels.settings import Mode, RolloutSettings, Rule, TokenLabelsSettings

PACKAGES = ("guardrail-stream", "numpy", "scikit-learn", "tokenizers")
SAMPLES, ROLLOUT_TOKENS, STRIDE = 8, 12, 8
ANNOUNCED = 0.95
MISTAKES = (0.0, 0.05)
ORDERS = (3, 4)
N_PLANTED = 120
RULES: tuple[Rule, ...] = ("rollouts", "judge", "both")
MODES: tuple[Mode, ...] = ("stride", "coarse")
TOKENIZER_JSON = default_tokenizer_file().read_text("utf-8")
END = -1

_SCENE = (
    "the old man walked with his dog along river and saw green trees near small house where children played after "
    "school while rain fell on roof of market they bought bread milk fresh fruit before dinner at home"
)
HARMLESS = _SCENE.split()
RISKY = ("murder", "kill", "attack", "death")
"""Each a single token of the embedded tokenizer, so that the true onset is one."""
ANNOUNCING = ("secret", "hidden", "sudden", "sealed")

PRIVATE = re.compile(r"\d\D{0,2}\d\D{0,2}\d|@")

Trial = tuple[Sequence["Answer"], "Models"]
"""One draw of everything: answers to label, and the models that do it."""

Judge = Callable[[Sequence[str]], Sequence[RiskLevel]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose onset is known: the first token that reaches behind character `start`."""

    text: str
    start: int
    risk: RiskLevel = RiskLevel.UNSAFE


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one answer: tokens from the true onset to the found one, None without one, and what it cost."""

    error: int | None
    token: int | None
    counts: Counter[str]


class NGrams:
    """Writes on as the longest context that it knows was continued in the texts it has read."""

    def __init__(self, tokenizer: GuardTokenizer, texts: Sequence[str], order: int) -> None:
        self._tokenizer, self._order = tokenizer, order
        counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for text in texts:
            ids = [*tokenizer.encode_plain(f"Assistant: {text}").ids, END]
            for i, following in enumerate(ids):
                for n in range(min(i + 1, order)):
                    counts[tuple(ids[i - n : i])][following] += 1
        self._next = {context: (list(c), np.cumsum([*c.values()]).tolist()) for context, c in counts.items()}

    def write(self, prompt: str, n_tokens: int, rng: random.Random) -> str:
        """Return a continuation."""
        ids = list(self._tokenizer.encode_plain(prompt).ids)
        n_read = len(ids)
        while len(ids) < n_read + n_tokens:
            contexts = (tuple(ids[len(ids) - n :]) for n in range(min(self._order - 1, len(ids)), -1, -1))
            choices, weights = self._next[next(context for context in contexts if context in self._next)]
            if (chosen := rng.choices(choices, cum_weights=weights)[0]) == END:
                break
            ids.append(chosen)
        return self._tokenizer.decode(ids[n_read:])


class Models:
    """The models of a trial; implements `Ask`. Each text is judged once, those asked about at one time together."""

    def __init__(self, writers: dict[str, NGrams], judges: dict[str, Judge], seed: int) -> None:
        self._writers, self._judges, self._seed = writers, judges, seed
        self._known: dict[tuple[str, str], RiskLevel] = {}
        self._waiting: dict[str, list[str]] = defaultdict(list)

    async def __call__(self, call: Call) -> Reply:
        """See `Ask`."""
        if call.form == "guard":
            risk = await self._judge(call.model, call.messages[-1].content)
            kind = "None" if risk is RiskLevel.SAFE else "PII"
            return Reply((Text(f"Safety: {risk.value}\nCategories: {kind}\nRefusal: No"),))
        rng = random.Random(f"{self._seed} {call.model} {call.prompt}")
        writer = self._writers[call.model]
        return Reply(tuple(Text(writer.write(call.prompt, call.max_tokens, rng)) for _ in range(call.n)))

    async def _judge(self, model: str, text: str) -> RiskLevel:
        if (model, text) not in self._known:
            self._waiting[model].append(text)
            await asyncio.sleep(0)  # until all that are asked now have come
            if texts := self._waiting.pop(model, []):
                keys = ((model, one) for one in texts)
                self._known.update(zip(keys, self._judges[model](texts), strict=True))
        return self._known[model, text]


def planted(tokenizer: GuardTokenizer, seed: int, mistakes: float) -> Trial:
    """Return answers with planted words, and models that were trained on others of the kind."""
    rng = random.Random(seed)
    n_others = (1 - ANNOUNCED) / ANNOUNCED / 2
    """Announcing words that a harmless one follows, for each text with a risky word."""

    def sentence(planted: str = "") -> str:
        words = rng.choices(HARMLESS, k=rng.randint(6, 10))
        at = rng.randint(2, len(words))
        return " ".join([*words[:at], *planted.split(), *words[at:]]) + "."

    def risky() -> str:
        return f"{rng.choice(ANNOUNCING)} {rng.choice(RISKY)}" if rng.random() < 0.5 else rng.choice(RISKY)

    def text() -> str:
        other = f"{rng.choice(ANNOUNCING)} {rng.choice(HARMLESS)}" if rng.random() < n_others else ""
        return " ".join([sentence(), sentence(risky() if rng.random() < 0.5 else other), sentence()])

    writers = {f"order {n}": NGrams(tokenizer, [text() for _ in range(4000)], n) for n in ORDERS}
    answers = []
    for _ in range(N_PLANTED):
        opening, word = [sentence() for _ in range(rng.randint(1, 4))], risky()
        whole = " ".join([*opening, sentence(word), *(sentence() for _ in range(rng.randint(1, 3)))])
        answers.append(Answer(whole, whole.index(f" {word.split()[-1]}")))

    def judge(texts: Sequence[str]) -> list[RiskLevel]:
        risky = (any(f" {word}" in text for word in RISKY) for text in texts)
        wrong = (place_of(text, f"{seed}") < mistakes for text in texts)
        return [RiskLevel.UNSAFE if one != other else RiskLevel.SAFE for one, other in zip(risky, wrong, strict=True)]

    return answers, Models(writers, {"guard": judge, "judge": judge}, seed)


def pii(tokenizer: GuardTokenizer, data: Path, seed: int) -> tuple[Trial, Trial, float]:
    """Return the risky sentences of a third of the templates with models trained on the others: once with the guard as
    judge, once with the rule; and the share of the third, safe sentences too, that the guard gets right, read whole.
    """
    halves: tuple[list[Answer], list[Answer]] = ([], [])
    for row in read_objects(data / "presidio_pii.jsonl.gz"):
        text = row["messages"][-1]["content"]
        answer = Answer(text, row["unsafe_start_char"] or 0, RiskLevel(row["risk"].capitalize()))
        halves[place_of(template_of(text), f"{seed}") < 1 / 3].append(answer)
    train, test = halves
    writers = {f"order {n}": NGrams(tokenizer, [answer.text for answer in train], n) for n in ORDERS}
    labelled = [LabelledText(Direction.RESPONSE, shape_of(answer.text), answer.risk) for answer in train]
    classifier = TfidfClassifier.fit(labelled, TfidfSettings(bits=16))

    def guard(texts: Sequence[str]) -> list[RiskLevel]:
        return [RISKS[i] for i in classifier.probabilities([shape_of(text) for text in texts]).argmax(axis=1)]

    def looks_private(texts: Sequence[str]) -> list[RiskLevel]:
        return [RiskLevel.UNSAFE if PRIVATE.search(text) else RiskLevel.SAFE for text in texts]

    pairs = zip(guard([one.text for one in test]), test, strict=True)
    right = fmean((risk is RiskLevel.SAFE) == (one.risk is RiskLevel.SAFE) for risk, one in pairs)
    risky = [answer for answer in test if answer.risk is not RiskLevel.SAFE]
    judges: dict[str, Judge] = {"guard": guard, "judge": guard}
    by_rule = {**judges, "judge": looks_private}
    return (risky, Models(writers, judges, seed)), (risky, Models(writers, by_rule, seed)), right


def template_of(text: str) -> str:
    """Return what sentences of one template share: their words in lower case; names and numbers are filled in."""
    return " ".join(word for word in re.findall(r"[^\W\d_]+", text) if word.islower())


def shape_of(text: str) -> str:
    """Return a text with all digits alike, so that a number is told by its form."""
    return re.sub(r"\d", "0", text)


def label(trial: Trial, tokenizer: GuardTokenizer, rule: Rule, mode: Mode) -> list[Found]:
    """Return what the stage's own work makes of all answers."""
    rollouts = tuple(RolloutSettings(f"order {n}", samples=SAMPLES, max_tokens=ROLLOUT_TOKENS) for n in ORDERS)
    settings = TokenLabelsSettings(rollouts, "guard", "judge", judge_form="guard", rule=rule, mode=mode, stride=STRIDE)
    work = FindOnset(settings, load_prompts("token_labels"), TOKENIZER_JSON)
    (answers, models), found = trial, []
    for i, answer in enumerate(answers):
        messages = (Message(Role.ASSISTANT, answer.text),)
        row = RecipeRow(f"{i}", f"{i}", "", "en", messages, Direction.RESPONSE, answer.risk)
        made = asyncio.run(work(row, models))
        true = next(place.token for place in places_of(tokenizer, answer.text) if place.end > answer.start)
        token = made.rows[0].meta["onset"]["token"] if made.rows else None
        found.append(Found(None if token is None else token - true, token, Counter(made.counts)))
    return found


def main() -> None:
    """Label, compare with the truth, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data files")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    started, tokenizer, seeds = time.perf_counter(), default_tokenizer(), range(1, options.seeds + 1)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{cpu_name()}, {cores()} cores; Python {platform.python_version()}, {versions}")
    print(f"seeds 1 to {options.seeds}; {len(ORDERS)} models with {SAMPLES} rollouts of {ROLLOUT_TOKENS} tokens each")
    for mistakes in MISTAKES:
        trials = [planted(tokenizer, seed, mistakes) for seed in seeds]
        show(f"Planted words, judge and guard wrong on {mistakes:.0%} of the texts", trials, tokenizer)
    drawn = [pii(tokenizer, options.data, seed) for seed in seeds]
    right = ", ".join(f"{share:.1%}" for *_, share in drawn)
    show(f"PII, guard and judge the same; whole sentences right by seed: {right}", [t for t, *_ in drawn], tokenizer)
    show("PII, judged by the rule, rollouts by the same guard", [trial for _, trial, _ in drawn], tokenizer)
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes")


def show(title: str, trials: Sequence[Trial], tokenizer: GuardTokenizer) -> None:
    """Print the table of the rules, done exactly, and that of the modes under the full rule."""
    print(f"\n**{title}**\n")
    print("| rule, mode exact | exact token | within 3 | early | late | dropped | mean error | median |")
    print("|---|---|---|---|---|---|---|---|")
    exact: list[Found] = []
    for rule in RULES:
        exact = [one for trial in trials for one in label(trial, tokenizer, rule, "exact")]
        print(f"| {rule} | {errors_of(exact)} |")
    print("\n| mode, rule both | onset of exact | exact token | within 3 | judged | rolled out | calls an answer |")
    print("|---|---|---|---|---|---|---|")
    print(f"| exact | {cost_of(exact, exact)} |")
    for mode in MODES:
        found = [one for trial in trials for one in label(trial, tokenizer, "both", mode)]
        print(f"| {mode} | {cost_of(found, exact)} |")
    n_tokens = fmean(len(places_of(tokenizer, answer.text)) for answers, _ in trials for answer in answers)
    n_calls = n_tokens * (1 + len(ORDERS) * (1 + SAMPLES))
    print(f"| both signs at every token | - | - | - | {n_tokens:.1f} | {n_tokens:.1f} | {n_calls:.0f} |")


def errors_of(found: Sequence[Found]) -> str:
    """Return the cells that say how far off the onsets are, in tokens; shares are of all answers."""
    errors = [one.error for one in found if one.error is not None]
    numbers = np.array(errors)
    counts = (numbers == 0, abs(numbers) <= 3, numbers < 0, numbers > 0)
    shares = [share(int(which.sum()), len(found)) for which in counts]
    dropped = share(len(found) - len(errors), len(found))
    spread = 1.96 * float(np.std(errors)) / len(errors) ** 0.5
    return " | ".join([*shares, dropped, f"{fmean(errors):+.2f} +- {spread:.2f}", f"{median(errors):+.0f}"])


def cost_of(found: Sequence[Found], exact: Sequence[Found]) -> str:
    """Return the cells that say how a mode agrees with the exact one and the truth, and what it asks."""
    same = sum(one.token == other.token for one, other in zip(found, exact, strict=True))
    errors = [one.error for one in found if one.error is not None]
    right = [share(sum(abs(error) <= most for error in errors), len(found)) for most in (0, 3)]
    places = [fmean(one.counts[name] for one in found) for name in ("places read by the judge", "places rolled out")]
    n_calls = sum(n for one in found for name, n in one.counts.items() if name.startswith("calls: ")) / len(found)
    cells = [share(same, len(found)), *right, *(f"{n:.1f}" for n in places), f"{n_calls:.0f}"]
    return " | ".join(cells)


def share(n: int, of: int) -> str:
    """Return a share with Wilson's interval."""
    found = wilson(n, of)
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


if __name__ == "__main__":
    main()
