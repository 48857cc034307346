"""AIME-25 and GPQA as lm-eval has them: its prompts, its grading, run as a program of its own, offline.

For figures that are to be compared with others' of the same harness. Our own tasks are the better measure of a
reasoning model, and docs/abilities.md says why. What is changed of the packaged tasks: the data is a local file, the
sampling is the model's, nothing but the end of the answer ends it, and each sample is a run with a seed of its own.
"""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.abilities.asking import Asker
from guardrail.abilities.sampled import shares_of
from guardrail.abilities.scores import Score
from guardrail.abilities.settings import AimeSettings, Candidate, GpqaSettings
from guardrail.errors import ConfigurationError, EngineError, MissingExtra
from guardrail.whole_files import write_whole

if TYPE_CHECKING:
    from guardrail.abilities.running import Found

_AIME = ("aime/aime25.yaml", "Question: {{problem}}\nAnswer:", "none")
_GPQA_PROMPT = (
    "What is the correct answer to this question:{{Question}}\nChoices:\n(A) {{choice1}}\n(B) {{choice2}}\n"
    "(C) {{choice3}}\n(D) {{choice4}}\nLet's think step by step: "
)
_GPQA = ("gpqa/cot_zeroshot/gpqa_{subset}_cot_zeroshot.yaml", _GPQA_PROMPT, "flexible-extract")
"""The packaged task, its prompt, which is repeated here so that the model's suffix can follow it, and the filter whose
figure counts."""

_TAIL_CHARS = 400


def measured(
    task: str, name: str, rows: Sequence[Mapping[str, Any]], settings: AimeSettings | GpqaSettings, found: "Found"
) -> Callable[[Asker, Candidate], Awaitable[dict[str, Score]]]:
    """Return what measures a model at a task.

    Args:
        task: "aime" or "gpqa".
        name: of the figure.
        rows: entries of the published file.
        settings: of the task.
        found: takes the harness's version; its settings say the output folder and the seed.

    Raises:
        MissingExtra: lm-eval is not installed.
        ConfigurationError: a model is no endpoint, which is what the harness can ask here.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("lm-eval", "eval")
    tasks = Path(spec.submodule_search_locations[0]) / "tasks"
    for model in found.settings.models:
        if model.kind != "endpoint" or len(model.base_urls) != 1:
            raise ConfigurationError(
                f"lm-eval asks one OpenAI-compatible server, and {model.name} is something else",
                hint='set harness = "own", or serve the model (vllm serve, or transformers serve)',
            )

    async def measure(_asker: Asker, model: Candidate) -> dict[str, Score]:
        folder = found.settings.output / "lm_eval" / task / "".join(c if c.isalnum() else "_" for c in model.name)
        folder.mkdir(parents=True, exist_ok=True)
        _write_task(folder, task, rows, model, settings, tasks)
        grades = [await _run(folder, task, model, found.settings.seed + i, i) for i in range(settings.samples)]
        flat = [grades[i][row] for row in range(len(rows)) for i in range(settings.samples)]
        ids = tuple(str(row.get("Record ID") or row.get("id") or i) for i, row in enumerate(rows))
        return {task: Score(f"{name}, lm-eval", ids, shares_of(flat, settings.samples), settings.samples)}

    return measure


def _write_task(
    folder: Path, task: str, rows: Sequence[Mapping[str, Any]], model: Candidate,
    settings: AimeSettings | GpqaSettings, tasks: Path,
) -> None:  # fmt: skip
    """Write the data, and the task that includes the packaged one; JSON is YAML too."""
    packaged, prompt, _ = _AIME if task == "aime" else _GPQA
    lines = "".join(json.dumps(dict(row)) + "\n" for row in rows)
    write_whole(folder / "data.jsonl", lines.encode())
    split = "test" if task == "aime" else "train"
    values = {
        "include": str(tasks / packaged.format(subset=getattr(settings, "subset", ""))), "task": f"guardrail_{task}",
        "dataset_path": "json", "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str((folder / "data.jsonl").resolve())}},
        "doc_to_text": prompt + model.suffix,
    }  # fmt: skip
    write_whole(folder / f"guardrail_{task}.yaml", json.dumps(values).encode())


async def _run(folder: Path, task: str, model: Candidate, seed: int, sample: int) -> list[bool]:
    """Return which answers of one sample are right, in the order of the questions."""
    place = folder / f"sample_{sample}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lm_eval", *_arguments(folder, place, task, model, seed), env=_environment(model, folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise EngineError(f"lm-eval failed: {said.decode('utf-8', 'replace')[-_TAIL_CHARS:].strip()}")
    logs = sorted(place.rglob(f"samples_guardrail_{task}_*.jsonl"))
    if not logs:
        raise EngineError("lm-eval wrote no samples", hint=f"this was written for 0.4.13; see {place}")
    entries = [json.loads(line) for line in logs[-1].read_text("utf-8").splitlines()]
    wanted = (_AIME if task == "aime" else _GPQA)[2]
    kept = sorted((one for one in entries if one.get("filter", "none") == wanted), key=lambda one: one["doc_id"])
    return [bool(one["exact_match"]) for one in kept]


def _arguments(folder: Path, place: Path, task: str, model: Candidate, seed: int) -> list[str]:
    asked = {
        "model": model.model, "base_url": f"{model.base_urls[0].rstrip('/')}/chat/completions", "seed": seed,
        "num_concurrent": model.concurrency, "max_retries": model.retries + 1, "timeout": int(model.timeout_s),
        "tokenized_requests": False, **({"think_end_token": "</think>"} if model.thinks else {}),
    }  # fmt: skip
    sampling = {
        "do_sample": model.temperature > 0, "temperature": model.temperature, "top_p": model.top_p,
        "max_gen_toks": model.max_tokens, "until": [],
    }  # fmt: skip
    system = ["--system_instruction", model.system] if model.system else []
    return [
        "run", "--model", "local-chat-completions", "--model_args", json.dumps(asked), "--tasks", f"guardrail_{task}",
        "--include_path", str(folder), "--apply_chat_template", "--gen_kwargs", json.dumps(sampling),
        "--output_path", str(place), "--log_samples", "--use_cache", str(place / "cache"), "--seed", str(seed), *system,
    ]  # fmt: skip


def _environment(model: Candidate, folder: Path) -> dict[str, str]:
    """Return an environment in which nothing but the model's server is asked, and no other key is known."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE") if name in os.environ}
    key = os.environ.get(model.api_key_env, "") if model.api_key_env else ""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")}
    return {**kept, **offline, "OPENAI_API_KEY": key or "none", "TOKENIZERS_PARALLELISM": "false"}
