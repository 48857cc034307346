"""What is measured, and of which models: frozen dataclasses from a TOML file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from guardrail.errors import ConfigurationError

TASKS = ("safety", "arena_hard", "aime", "livecodebench", "gpqa")
"""Sections of the file, in the order of the table's columns."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Kind = Literal["endpoint", "checkpoint", "function"]
Harness = Literal["own", "lm-eval"]
Subset = Literal["diamond", "main", "extended"]


@dataclass(frozen=True)
class Server:
    """A language model that is asked; names as in a recipe's models.

    Attributes:
        kind: "endpoint": an OpenAI-compatible server; "checkpoint": a folder or hub id that transformers runs here;
            "function": Python code of one's own.
        model: its name at the server, its folder or hub id.
        base_urls: of the server's replicas, such as http://localhost:8001/v1.
        function: "file.py:name", the file beside the settings.
        revision: tells weights, or settings of the server, apart that are served under one name: part of what an answer
            in the cache is known by.
        api_key_env: environment variable that holds the server's key; empty sends none.
        concurrency: requests under way at once.
        timeout_s: for one request; a reasoning model writes for long.
        retries: of a request that failed for a reason that may pass.
    """

    kind: Kind
    model: str = ""
    base_urls: tuple[str, ...] = ()
    function: str = ""
    revision: str = ""
    api_key_env: str = ""
    concurrency: Count = 16
    timeout_s: Positive = 1800
    retries: Annotated[int, Field(ge=0)] = 5


@dataclass(frozen=True)
class Candidate(Server):
    """A model that is measured, and how it is asked; defaults of the sampling are our choice.

    Attributes:
        name: of the row in the table.
        before: name of the model that it was trained from: the table then also shows the differences.
        thinks: whether it is asked to think first. What it thinks is never graded; an answer that was cut off before
            the thinking ended counts as none.
        system: system prompt of all questions; empty for none. A task's own stands behind it.
        suffix: stands behind every question, such as " /no_think" for Qwen3.
        temperature: of sampling; 0 is greedy.
        top_p: of sampling.
        max_tokens: most tokens of an answer, thinking included.
    """

    name: str = ""
    before: str = ""
    thinks: bool = False
    system: str = ""
    suffix: str = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Share = 0.95
    max_tokens: Count = 16384


@dataclass(frozen=True)
class Source:
    """Where questions come from: local files, or the hub at a commit.

    Attributes:
        paths: files of the published schema: JSONL, gzipped or not, CSV (GPQA) or Parquet.
        revision: commit of the hub's data set, 40 hex digits, when there are no paths.
        limit: most questions, the first ones; 0 takes all. For trying out: such a figure is no result.
    """

    paths: tuple[Path, ...] = ()
    revision: str = ""
    limit: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class SafetySettings:
    """Answers to harmful and benign prompts, judged by a guard and a refusal detector.

    Attributes:
        files: labelled prompts of the data schema; Safe ones are benign, all others harmful.
        rewards: TOML file as `guardrail reward serve` reads it, whose guard and refusal detector judge; without one,
            the embedded guard and the phrases. Who rewarded a model should not be the only one to measure it.
        samples: answers a prompt.
        limit: most prompts of each kind, the first ones; 0 takes all.
        max_tokens: most tokens of an answer; 0 takes the model's.
    """

    files: tuple[Path, ...]
    rewards: Path | None = None
    samples: Count = 1
    limit: Annotated[int, Field(ge=0)] = 0
    max_tokens: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class ArenaSettings(Source):
    """Arena-Hard-v2: a judge compares answers with those of a baseline, twice, with sides swapped.

    Attributes:
        answers: the baselines' answers by category, or one file for "all".
        category: the one whose figure stands in the large table.
        judge: name of the judging model in `judges`.
        prompts: the judge's system prompt by category, or one for "all": text files; without one it is ours.
        judge_max_tokens: most tokens of a judgement.
    """

    answers: dict[str, Path] = field(default_factory=dict)
    category: str = "hard_prompt"
    judge: str = "judge"
    prompts: dict[str, Path] = field(default_factory=dict)
    judge_max_tokens: Count = 16000


@dataclass(frozen=True)
class AimeSettings(Source):
    """AIME-25: an integer from 0 to 999.

    Attributes:
        samples: answers a problem: with 30 problems a single one says little.
        harness: "own", or "lm-eval" to let the packaged task of lm-eval ask and grade (extra `eval`).
    """

    samples: Count = 16
    harness: Harness = "own"


@dataclass(frozen=True)
class GpqaSettings(Source):
    """GPQA: four choices, in an order drawn by the seed, the question and the number of the sample.

    Attributes:
        subset: which file of the data set.
        samples: answers a question.
        harness: as for AIME.
    """

    subset: Subset = "diamond"
    samples: Count = 4
    harness: Harness = "own"


@dataclass(frozen=True)
class LiveCodeSettings(Source):
    """LiveCodeBench: programs, run against the published tests; only with `--run-model-code`.

    Attributes:
        release: what is measured, for the record: "release_v6" is all problems up to the sixth file, "v6" that file
            alone. On the hub it chooses the files.
        since: first contest date, YYYY-MM-DD; empty for no bound.
        until: last contest date.
        samples: programs a problem.
        timeout_s: seconds of computing for one test, as published.
        memory_mib: for one program. Ours.
        parallel: programs that run at once; 0: one a processor.
    """

    release: str = "release_v6"
    since: str = ""
    until: str = ""
    samples: Count = 4
    timeout_s: Count = 6
    memory_mib: Annotated[int, Field(ge=64)] = 2048
    parallel: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class AbilitiesSettings:
    """A table; paths are relative to the working directory. A task without a section is left out.

    Attributes:
        output: folder of the call cache, the table and all outcomes.
        models: its rows.
        judges: models that judge, by name.
        seed: of everything that is drawn here; a server's own draws are by the calls.
    """

    output: Path
    models: tuple[Candidate, ...]
    judges: dict[str, Server] = field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 1
    safety: SafetySettings | None = None
    arena_hard: ArenaSettings | None = None
    aime: AimeSettings | None = None
    livecodebench: LiveCodeSettings | None = None
    gpqa: GpqaSettings | None = None

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or "" in names or len({*names, *self.judges}) != len(names) + len(self.judges):
            raise ConfigurationError("each of `models` and `judges` needs a name of its own")
        for model in self.models:
            if model.before and (model.before not in names or model.before == model.name):
                raise ConfigurationError(f"{model.name}: `before` names {model.before!r}, and there is no such model")
        tasks = [name for name in TASKS if getattr(self, name) is not None]
        if not tasks:
            raise ConfigurationError("nothing is measured", hint=f"add a section: {', '.join(TASKS)}")
        greedy = [model.name for model in self.models if model.temperature == 0]
        if greedy and any(getattr(getattr(self, name), "samples", 1) > 1 for name in tasks):
            raise ConfigurationError(
                f"{greedy[0]} answers greedily, so several samples are all the same",
                hint="set samples = 1 in each section, or a temperature above 0",
            )
        if self.arena_hard and self.arena_hard.judge not in self.judges:
            raise ConfigurationError(f"there is no judge {self.arena_hard.judge!r}", hint="add [judges.NAME]")


def load_abilities(path: Path) -> AbilitiesSettings:
    """Return the settings that a TOML file holds.

    Raises:
        ConfigurationError: the file cannot be read, or does not hold them.
    """
    from guardrail.training.settings import load_settings

    return load_settings(path, AbilitiesSettings)
