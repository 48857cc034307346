"""The data stage: answers of the policy model to each prompt, judged by the guard; prompts that teach nothing drop out.

A group whose answers are all safe, or all unsafe, has no reward to prefer: its gradient is zero. So the report leaves
such prompts out. What a model has answered is kept by what was asked: the rendered prompt, the model and its revision,
the sampling; a run that was killed asks nothing twice.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from guardrail.errors import CallRefused, ConfigurationError
from guardrail.training.recipe.asking import open_asking
from guardrail.training.recipe.budget import Budget
from guardrail.training.recipe.cache import CallCache
from guardrail.training.recipe.calls import Ask, Call, Reply
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.settings import ModelSettings
from guardrail.training.rewards import Completion
from guardrail.training.rl.prompts import Prompt, Rendered
from guardrail.training.rl.scoring import Judges, judge
from guardrail.training.rl.settings import RlSettings
from guardrail.training.rl.world import World
from guardrail.whole_files import write_whole

FOLDER, ROWS, MANIFEST = "rollouts", "rows.jsonl", "manifest.json"
"""In a run's folder: one line a prompt and mode; counts and settings, written last."""

_CALLS = "calls.sqlite"
_MODEL = "policy_model"


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt in one mode.

    Attributes:
        key: of the call, hex digits: of the rendered prompt, the model with its revision, and the sampling.
        rendered: the prompt.
        call: to the policy model.
    """

    key: str
    rendered: Rendered
    call: Call


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of it.

    Attributes:
        safe: for each answer, whether it is safe; empty if the model refused the call.
        n_failed: answers that could not be judged, and so count as unsafe.
    """

    safe: tuple[bool, ...]
    n_failed: int = 0

    @property
    def fate(self) -> str:
        """Why the prompt is left out; "kept" if it is not."""
        if not self.safe:
            return "refused"
        return "all_safe" if all(self.safe) else "kept" if any(self.safe) else "all_unsafe"


FATES = ("kept", "all_safe", "all_unsafe", "refused")


def choose_prompts(settings: RlSettings, world: World, judges: Judges, console: Console) -> list[Prompt]:
    """Return the prompts to train on, by mode; answers are drawn and judged unless that was done before.

    Raises:
        ConfigurationError: none is left.
        EngineError: the model or the judges cannot be asked now; the next start goes on.
    """
    folder = settings.output / FOLDER
    if not (folder / MANIFEST).is_file():
        _draw(settings, world, judges, folder, console)
    by_id = {prompt.id: prompt for prompt in world.training}
    rows = [json.loads(line) for line in (folder / ROWS).read_text("utf-8").splitlines()]
    kept = ("kept", "all_safe", "all_unsafe") if settings.rollouts.keep_all else ("kept",)
    chosen = [replace(by_id[row["id"]], thinks=row["thinks"]) for row in rows if row["fate"] in kept]
    if not chosen:
        raise ConfigurationError(
            "no prompt is left: the answers to each are all safe or all unsafe",
            hint="add prompts, or set [rollouts] keep_all = true",
        )
    return chosen


def _draw(settings: RlSettings, world: World, judges: Judges, folder: Path, console: Console) -> None:
    """Write rows and manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    model = settings.rollouts.model or ModelSettings("checkpoint", str(world.start), concurrency=1)
    identity = identity_of(model, folder)
    asked = _asked(settings, world, identity)
    with console.status("") as status:
        judged = asyncio.run(_ask(settings, model, asked, judges, folder, status.update))
    rows = [_row(one, judged[one.key]) for one in asked]
    write_whole(folder / ROWS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    told = {
        "thinks": settings.rollouts.thinks, "sampling": _sampling(settings), "model": identity,
        "judges": judges.identity, "counts": _counts(rows),
    }  # fmt: skip
    write_whole(folder / MANIFEST, (json.dumps(told, indent=2) + "\n").encode())


def _asked(settings: RlSettings, world: World, identity: str) -> list[Asked]:
    found = []
    for prompt in world.training:
        for thinks in settings.rollouts.thinks:
            rendered = world.renderer.render(replace(prompt, thinks=thinks))
            call = Call(_MODEL, form="completion", prompt=rendered.text, **_sampling(settings))
            found.append(Asked(call.key(identity).hex(), rendered, call))
    return found


def _sampling(settings: RlSettings) -> dict[str, Any]:
    """Return how answers are drawn: as in the training."""
    gspo = settings.gspo
    return {
        "n": settings.rollouts.samples, "max_tokens": gspo.max_new_tokens, "temperature": gspo.temperature,
        "top_p": gspo.top_p,
    }  # fmt: skip


async def _ask(
    settings: RlSettings,
    model: ModelSettings,
    asked: Sequence[Asked],
    judges: Judges,
    folder: Path,
    say: Callable[[str], object],
) -> dict[str, Judged]:
    """Return what came of all calls by their key; what was judged before is not judged again."""
    journal = folder / f"judged-{_digest(judges.identity)}.jsonl"
    judged = _read_judged(journal)
    todo = [*{one.key: one for one in asked if one.key not in judged}.values()]
    with CallCache(folder / _CALLS) as cache, journal.open("a", encoding="utf-8") as file:
        async with open_asking({_MODEL: model}, cache, Budget(), folder) as asking:
            for first in range(0, len(todo), settings.rollouts.part):
                say(f"rollouts: {first:,} of {len(todo):,} prompts are judged")
                part = todo[first : first + settings.rollouts.part]
                replies = await asyncio.gather(*(_reply(asking, one.call) for one in part))
                said = await asyncio.to_thread(_judge, judges, part, replies)
                judged |= said
                kept = {key: one for key, one in said.items() if not one.n_failed}  # else the next start judges again
                file.writelines(json.dumps({"key": key, "safe": one.safe}) + "\n" for key, one in kept.items())
                file.flush()
    return judged


def _digest(identity: Mapping[str, str]) -> str:
    """Return what tells judges from others: what these have judged, others have not."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


async def _reply(ask: Ask, call: Call) -> Reply | None:
    """Return the answers; None if the model refuses the call."""
    try:
        return await ask(call)
    except CallRefused:
        return None


def _judge(judges: Judges, asked: Sequence[Asked], replies: Sequence[Reply | None]) -> dict[str, Judged]:
    """Return by key what the guard says of the answers."""
    texts = [[text.text for text in reply.texts] if reply else [] for reply in replies]
    opinions = iter(
        judge(
            judges,
            [
                Completion.of(one.rendered.prompt.messages, text, is_thinking=one.rendered.is_thinking)
                for one, written in zip(asked, texts, strict=True)
                for text in written
            ],
            with_helpfulness=False,
        )
    )
    found = {}
    for one, written in zip(asked, texts, strict=True):
        said = list(islice(opinions, len(written)))
        safe = tuple(opinion.is_safe for opinion in said)
        found[one.key] = Judged(safe, sum(bool(opinion.failure) for opinion in said))
    return found


def _read_judged(path: Path) -> dict[str, Judged]:
    """Return what was judged before, by key; a line that a kill cut off is left out, and ended."""
    if not path.is_file():
        return {}
    found = {}
    text = path.read_text("utf-8")
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        found[values["key"]] = Judged(tuple(values["safe"]))
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return found


def _row(one: Asked, judged: Judged) -> dict[str, Any]:
    prompt = one.rendered.prompt
    return {
        "id": prompt.id, "thinks": prompt.thinks, "is_harmful": prompt.is_harmful, "fate": judged.fate,
        "n_safe": sum(judged.safe), "n": len(judged.safe), "n_failed": judged.n_failed, "key": one.key,
    }  # fmt: skip


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many prompts met which fate, all of them and by kind."""
    found = {"prompts": len(rows), **dict.fromkeys(FATES, 0)}
    found |= {f"{fate}_{kind}": 0 for fate in FATES for kind in ("harmful", "benign")}
    for row in rows:
        found[row["fate"]] += 1
        found[f"{row['fate']}_{'harmful' if row['is_harmful'] else 'benign'}"] += 1
    found["failed_answers"] = sum(row["n_failed"] for row in rows)
    return found
