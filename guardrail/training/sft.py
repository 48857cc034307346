"""Four-head fine-tuning with the reference's losses; the loop is written out.

Ours, since the report gives no hyper-parameters: all numbers of the settings, token noise, the label rule for answers
without a span (`examples.py`), and batches by a token budget, in which every row weighs the same.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from rich.console import Console

from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.network import GuardNetwork
from guardrail.taxonomy import RESPONSE_LABELS
from guardrail.training.examples import IGNORED, LEAST_LENGTH, Example, Source, Teach, read_examples
from guardrail.training.losses import Batch, guard_losses
from guardrail.training.run_folder import RunFolder, cosine, progress_bar, share_done
from guardrail.training.settings import Count, NotNegative, Positive, Seed, Share, load_settings


@dataclass(frozen=True)
class SftSettings:
    """Settings of `sft`; all numbers are ours.

    Attributes:
        data_dir: folder of the labelled files.
        sources: file name -> how it is used.
        start: checkpoint folder to start from, with its tokenizer.
        output: run folder; the checkpoint lands in its folder `checkpoint`.
        epochs: passes over the data.
        max_minutes: wall-clock bound of the steps; the schedule follows whichever of epochs and minutes is nearer its
            end. 0: none.
        batch_tokens: padded tokens a step.
        max_length: most tokens of a row; the middle of longer ones is left out.
        learning_rate: peak, of the backbone.
        head_learning_rate: peak, of the heads.
        weight_decay: of matrices.
        warmup: share of the run.
        token_noise: share of tokens replaced by random ones in training.
        class_weights: weight of Safe, Unsafe, Controversial in the risk terms.
        teacher_share: weight of the linear teacher against the label, for answers; see `teacher.py`. 0: no teacher.
        seed: of selection, order and noise.
        save_minutes: time between checkpoints.
        threads: of torch.
    """

    data_dir: Path
    sources: dict[str, Source]
    start: Path
    output: Path
    epochs: Positive = 3
    max_minutes: NotNegative = 0
    batch_tokens: Count = 6144
    max_length: Annotated[int, Field(ge=LEAST_LENGTH)] = 512
    learning_rate: Positive = 6e-4
    head_learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.03
    token_noise: Share = 0.05
    class_weights: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    teacher_share: Share = 0.0
    seed: Seed = 1
    save_minutes: NotNegative = 5
    threads: Count = 2


def main(config: Path, *, resume: bool = False) -> None:
    """Run the fine-tuning that a TOML file describes, or go on with it."""
    settings = load_settings(config, SftSettings)
    run(settings, RunFolder(settings.output, config, resume=resume))


def run(settings: SftSettings, folder: RunFolder) -> None:
    """Train and write a checkpoint in the published format, with its tokenizer."""
    torch.set_num_threads(settings.threads)
    tokenizer = GuardTokenizer.from_file(settings.start / "tokenizer.json")
    network = GuardNetwork.from_checkpoint(settings.start)
    if network.config.is_generative:
        raise ConfigurationError("a generative model has no heads to train", hint="start from a Qwen3Guard-Stream one")
    with Console(stderr=True).status("reading and encoding the rows, and fitting the teacher if there is one"):
        examples = list(_examples(tokenizer, settings))
    trainer = SftTrainer(settings, examples, network)
    folder.log({"event": "data", "rows": len(trainer.training), "held_out": len(trainer.held_out)})
    if state := folder.load():
        trainer.restore(state)
    _loop(trainer, settings, folder)
    trainer.network.save_checkpoint(folder.path / "checkpoint", "f32")
    tokenizer_json = (settings.start / "tokenizer.json").read_bytes()
    (folder.path / "checkpoint" / "tokenizer.json").write_bytes(tokenizer_json)


def _examples(tokenizer: GuardTokenizer, settings: SftSettings) -> Iterator[Example]:
    teach: Teach | None = None
    if settings.teacher_share:
        from guardrail.training import teacher

        teach = teacher.teach
    return read_examples(
        tokenizer, settings.data_dir, settings.sources, settings.max_length, settings.seed,
        teach=teach, teacher_share=settings.teacher_share,
    )  # fmt: skip


class SftTrainer:
    """Model, optimiser and data order; a step is a function of the settings and its number alone."""

    def __init__(self, settings: SftSettings, examples: list[Example], network: GuardNetwork) -> None:
        self.settings = settings
        self.network = network
        self.training = [e for e in examples if not e.is_held_out]
        self.held_out = list({id(e): e for e in examples if e.is_held_out}.values())
        if not self.training:
            raise ConfigurationError(f"no rows to train on: {len(self.held_out)} are held out and there are no others")
        self.step_number = 0
        self.spent_s = 0.0
        self._epoch_batches: tuple[int, list[list[int]]] = (-1, [])
        self.n_steps = max(1, int(len(self._batches(0)) * settings.epochs))
        self._mean_rows = len(self.training) / len(self._batches(0))
        self._weights = torch.tensor(settings.class_weights)
        self._optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), fused=True)

    @property
    def progress(self) -> float:
        """Share of the run done, in [0, 1], by steps or by the clock."""
        return share_done(self.step_number, self.n_steps, self.spent_s, self.settings.max_minutes)

    def step(self) -> float:
        """Take one optimiser step and return its loss."""
        started = time.perf_counter()
        rng = np.random.default_rng([self.settings.seed, self.step_number])
        epoch, number = divmod(self.step_number, len(self._batches(0)))
        batches = self._batches(epoch)
        batch = collate([self.training[i] for i in batches[number % len(batches)]])
        factor = cosine(self.progress, self.settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        losses = self._losses(_with_noise(batch, self.settings.token_noise, self.network.config.vocab_size, rng))
        loss = losses.mean()
        (loss * (len(batch.ids) / self._mean_rows)).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step_number += 1
        self.spent_s += time.perf_counter() - started
        return float(loss.detach())

    def held_out_loss(self) -> float:
        """Return the loss over rows that are never trained on, each term averaged over the rows that have it."""
        sums, counts = torch.zeros(4), torch.zeros(4)
        with torch.no_grad():
            for indices in batches_by_length(self.held_out, self.settings.batch_tokens):
                losses = self._losses(collate([self.held_out[i] for i in indices]))
                sums, counts = sums + losses.sums, counts + losses.counts
        return float((sums / counts.clamp(min=1)).sum())

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step_number,
            "spent_s": self.spent_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.spent_s = state["step"], state["spent_s"]

    def _losses(self, batch: Batch) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.network.hidden_states(batch.ids)
        return guard_losses(self.network, hidden, batch, self._weights)

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch_batches[0] != epoch:
            rng = np.random.default_rng([self.settings.seed, 1_000_003, epoch])
            jitter = rng.uniform(0.9, 1.1, len(self.training))
            batches = batches_by_length(self.training, self.settings.batch_tokens, jitter)
            rng.shuffle(batches)
            self._epoch_batches = (epoch, batches)
        return self._epoch_batches[1]

    def _groups(self) -> list[dict[str, Any]]:
        settings = self.settings
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            peak = settings.learning_rate if name.startswith("model.") else settings.head_learning_rate
            decay = settings.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((peak, decay), []).append(parameter)
        return [{"params": p, "lr": peak, "peak": peak, "weight_decay": d} for (peak, d), p in groups.items()]


def collate(examples: list[Example]) -> Batch:
    """Pad examples on the right."""
    length = max(len(e.ids) for e in examples)
    ids = np.zeros((len(examples), length), np.int64)
    response = np.full((len(examples), length), IGNORED, np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        response[row, : len(example.ids)] = example.response_risk
    return Batch(
        torch.from_numpy(ids),
        torch.tensor([max(0, e.query_position) for e in examples]),
        torch.tensor([e.query_risk for e in examples]),
        torch.tensor([e.query_category for e in examples]),
        torch.from_numpy(response),
        torch.tensor([e.response_category for e in examples]),
        torch.tensor([e.teacher or (0.0,) * len(RESPONSE_LABELS.risks) for e in examples]),
        torch.tensor([e.teacher_share for e in examples]),
    )


def _with_noise(batch: Batch, share: float, vocab_size: int, rng: np.random.Generator) -> Batch:
    """Replace a share of the tokens by random ones, so that no single word decides."""
    shape = tuple(batch.ids.shape)
    hit = torch.from_numpy(rng.random(shape) < share)
    random_ids = torch.from_numpy(rng.integers(0, vocab_size, shape))
    ids = torch.where(hit, random_ids, batch.ids)
    rows = torch.arange(len(ids))
    ids[rows, batch.query_position] = batch.ids[rows, batch.query_position]
    return replace(batch, ids=ids)


def batches_by_length(
    examples: list[Example], budget: int, jitter: np.ndarray[Any, np.dtype[np.float64]] | None = None
) -> list[list[int]]:
    """Group rows of like length into batches of at most `budget` padded tokens."""
    lengths = np.array([len(e.ids) for e in examples])
    order = np.argsort(lengths * (1.0 if jitter is None else jitter), kind="stable")
    batches: list[list[int]] = [[]]
    longest = 0
    for i in order.tolist():
        longest = max(longest, int(lengths[i]))
        if batches[-1] and longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = int(lengths[i])
        batches[-1].append(i)
    return [batch for batch in batches if batch]


def _loop(trainer: SftTrainer, settings: SftSettings, folder: RunFolder) -> None:
    saved = time.monotonic()
    recent: list[float] = []
    with progress_bar() as bar:
        task = bar.add_task("sft", total=1000, completed=int(1000 * trainer.progress), status="")
        while trainer.progress < 1:
            recent = [*recent[-49:], trainer.step()]
            if trainer.step_number % 20 == 0:
                bar.update(task, completed=1000 * trainer.progress, status=f"loss {np.mean(recent):.3f}")
            if trainer.step_number % 200 == 0:
                held_out = trainer.held_out_loss()
                mean = float(np.mean(recent))
                folder.log(
                    {"step": trainer.step_number, "loss": mean, "held_out": held_out, "spent_s": trainer.spent_s}
                )
            if time.monotonic() - saved > 60 * settings.save_minutes:
                folder.save(trainer.state())
                saved = time.monotonic()
    folder.save(trainer.state())
    share = trainer.step_number / trainer.n_steps * settings.epochs
    end = {"event": "end", "step": trainer.step_number, "epochs": share, "held_out": trainer.held_out_loss()}
    folder.log(end)
