"""Language-model pre-training of the backbone, from scratch, with the output layer tied to the embedding.

Our departures from a usual recipe, for a small CPU budget: the loss is taken at a random share of positions
(`loss_share`), and the schedule may follow the clock (`max_minutes`) instead of a step count.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional as F

from guardrail.checkpoint import TOKENIZER_FILE
from guardrail.checkpoint_config import GuardConfig
from guardrail.encoding import GuardTokenizer
from guardrail.errors import ConfigurationError
from guardrail.network import GuardNetwork
from guardrail.training.corpus import pack
from guardrail.training.run_folder import RunFolder, cosine, progress_bar, save_array, share_done
from guardrail.training.settings import Count, NotNegative, Positive, Seed, Share, load_settings
from guardrail.whole_files import whole_folder

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; see `GuardConfig`."""

    hidden_size: Count
    n_layers: Count
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    intermediate_size: Count
    guard_inner_size: Count
    max_context: Count


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of `pretrain`; all numbers are ours.

    Attributes:
        data_dir: folder of the text files.
        files: file name -> characters taken from it.
        tokenizer: tokenizer.json.
        output: run folder; the checkpoint lands in its folder `checkpoint`.
        shape: sizes of the model.
        steps: optimiser steps.
        max_minutes: wall-clock bound; the schedule follows whichever of steps and minutes is nearer its end. 0: none.
        batch: rows a step.
        length: tokens a row.
        learning_rate: peak.
        weight_decay: of matrices.
        warmup: share of the run.
        loss_share: share of positions at which the loss is taken.
        seed: of weights, selection and order.
        save_minutes: time between checkpoints.
        threads: of torch.
        compile: whether to compile the backbone.
    """

    data_dir: Path
    files: dict[str, Count]
    tokenizer: Path
    output: Path
    shape: Shape
    steps: Count
    max_minutes: NotNegative = 0
    batch: Count = 16
    length: Annotated[int, Field(ge=2)] = 256
    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.03
    loss_share: Share = 0.25
    seed: Seed = 1
    save_minutes: NotNegative = 5
    threads: Count = 2
    compile: bool = False


def main(config: Path, *, resume: bool = False) -> None:
    """Run the pre-training that a TOML file describes, or go on with it."""
    settings = load_settings(config, PretrainSettings)
    run(settings, RunFolder(settings.output, config, resume=resume))


def run(settings: PretrainSettings, folder: RunFolder) -> None:
    """Train and write a checkpoint in the published format (heads untrained)."""
    torch.set_num_threads(settings.threads)
    tokenizer = GuardTokenizer.from_file(settings.tokenizer)
    ids = _packed(settings, tokenizer, folder)
    trainer = Pretrainer(settings, ids, tokenizer.vocab_size)
    if state := folder.load():
        trainer.restore(state)
    _loop(trainer, settings, folder)
    with whole_folder(folder.path / "checkpoint") as unfinished:
        trainer.network.save_checkpoint(unfinished, "f32")
        (unfinished / TOKENIZER_FILE).write_bytes(settings.tokenizer.read_bytes())


def _packed(settings: PretrainSettings, tokenizer: GuardTokenizer, folder: RunFolder) -> NDArray[np.uint16]:
    path = folder.path / "ids.npy"
    if not path.exists():
        end_id = tokenizer.special_id(END_OF_TEXT)
        with progress_bar() as bar:
            task = bar.add_task("characters packed", total=sum(settings.files.values()), status="")
            packed = pack(
                tokenizer, settings.files, settings.data_dir, end_id, settings.seed,
                lambda n_chars: bar.advance(task, n_chars),
            )  # fmt: skip
        save_array(path, packed)  # a kill while writing must not leave half a corpus to the resumed run
    ids: NDArray[np.uint16] = np.load(path, mmap_mode="r", allow_pickle=False)
    folder.log({"event": "packed", "tokens": len(ids)})
    return ids


class Pretrainer:
    """Model, optimiser and data order; a step is a function of the settings and its number alone."""

    def __init__(self, settings: PretrainSettings, ids: NDArray[np.uint16], vocab_size: int) -> None:
        self.settings = settings
        self.step_number = 0
        self.spent_s = 0.0
        n_held = max(settings.length + 1, len(ids) // 200)
        if len(ids) - n_held <= settings.length:
            raise ConfigurationError(
                f"{len(ids)} tokens of text are too few for rows of {settings.length} and a held-out part",
                hint="add files, or lower length",
            )
        self._held, self._ids = ids[:n_held], ids[n_held:]
        config = GuardConfig(**asdict(settings.shape), vocab_size=vocab_size)
        self.network = GuardNetwork.init(config, settings.seed)
        decayed = [p for p in self.network.model.parameters() if p.dim() > 1]
        plain = [p for p in self.network.model.parameters() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
        self._states = torch.compile(self.network.hidden_states) if settings.compile else self.network.hidden_states

    @property
    def progress(self) -> float:
        """Share of the run done, in [0, 1], by steps or by the clock."""
        return share_done(self.step_number, self.settings.steps, self.spent_s, self.settings.max_minutes)

    def step(self) -> float:
        """Take one optimiser step and return its loss."""
        started = time.perf_counter()
        rng = np.random.default_rng([self.settings.seed, self.step_number])
        rows = self._rows(self._ids, rng.integers(0, len(self._ids) - self.settings.length, self.settings.batch))
        n_positions = rows.shape[0] * (rows.shape[1] - 1)
        chosen = rng.permutation(n_positions)[: max(1, int(n_positions * self.settings.loss_share))]
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * cosine(self.progress, self.settings.warmup)
        loss = self._loss(rows, torch.from_numpy(chosen))
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(self.network.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step_number += 1
        self.spent_s += time.perf_counter() - started
        return float(loss.detach())

    def held_out_loss(self, n_rows: int = 32) -> float:
        """Return the loss on text that is never trained on, at every position."""
        starts = np.linspace(0, len(self._held) - self.settings.length - 1, n_rows).astype(int)
        rows = self._rows(self._held, starts)
        with torch.no_grad():
            return float(self._loss(rows, torch.arange(rows.shape[0] * (rows.shape[1] - 1))))

    def _loss(self, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self._states(rows)[:, :-1].reshape(-1, self.settings.shape.hidden_size)[chosen]
            logits = hidden @ self.network.model.embed_tokens.weight.T
        return F.cross_entropy(logits.float(), rows[:, 1:].reshape(-1)[chosen])

    def _rows(self, ids: NDArray[np.uint16], starts: NDArray[np.int64]) -> torch.Tensor:
        length = self.settings.length
        return torch.from_numpy(np.stack([ids[s : s + length] for s in starts]).astype(np.int64))

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


def _loop(trainer: Pretrainer, settings: PretrainSettings, folder: RunFolder) -> None:
    saved = time.monotonic()
    tokens_a_step = settings.batch * settings.length
    with progress_bar() as bar:
        task = bar.add_task("pretrain", total=1000, completed=int(1000 * trainer.progress), status="")
        while trainer.progress < 1:
            loss = trainer.step()
            if trainer.step_number % 20 == 0:
                rate = trainer.step_number * tokens_a_step / trainer.spent_s
                bar.update(task, completed=1000 * trainer.progress, status=f"loss {loss:.3f}  {rate:,.0f} tokens/s")
            if trainer.step_number % 200 == 0:
                held = trainer.held_out_loss()
                folder.log({"step": trainer.step_number, "loss": loss, "held_out": held, "spent_s": trainer.spent_s})
            if time.monotonic() - saved > 60 * settings.save_minutes:
                folder.save(trainer.state())
                saved = time.monotonic()
    folder.save(trainer.state())
    folder.log({"event": "end", "step": trainer.step_number, "held_out": trainer.held_out_loss()})
