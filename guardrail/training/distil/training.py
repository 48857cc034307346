"""The distillation itself: every position of a text foretells the encoder's vector of the whole, the last one most."""

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from guardrail.checkpoint_config import GuardConfig
from guardrail.errors import ConfigurationError
from guardrail.network import GuardNetwork
from guardrail.training.distil.settings import DistilSettings
from guardrail.training.lengths import by_length
from guardrail.training.run_folder import cosine

INSIDE_WEIGHT = 0.2
"""Weight of a prompt's inner positions together, against 1 for its closing token. Ours."""

ANSWER_RAMP = 2
"""An answer's positions weigh as their place to this power: what is not yet said cannot be foretold. Ours."""

HELD_OUT = 1000


class Distiller:
    """Model, optimiser and data order; a step is a function of the settings and its number alone."""

    def __init__(
        self,
        settings: DistilSettings,
        framed: list[tuple[NDArray[np.int32], int]],
        is_answer: NDArray[np.bool_],
        vectors: NDArray[np.float16],
        vocab_size: int,
    ) -> None:
        """Take the texts.

        Args:
            settings: of the run.
            framed: each text's ids, int32 [position], and how many of them stand before it.
            is_answer: bool [text].
            vectors: float16 [text, size], the encoder's.
            vocab_size: of the tokenizer.
        """
        self.settings, self._framed, self._is_answer, self._vectors = settings, framed, is_answer, vectors
        order = np.random.default_rng(settings.seed).permutation(len(framed))
        n_held = min(HELD_OUT, len(framed) // 10)
        if not n_held:
            raise ConfigurationError(f"{len(framed)} texts are too few to distil from", hint="add files or sources")
        self.held_out, self.training = sorted(order[:n_held].tolist()), sorted(order[n_held:].tolist())
        self._mean = torch.from_numpy(vectors[self.training].mean(0, dtype=np.float32))
        config = GuardConfig(**asdict(settings.shape), vocab_size=vocab_size)
        self.network = GuardNetwork.init(config, settings.seed)
        self.head = nn.Linear(config.hidden_size, vectors.shape[1])
        with torch.no_grad():
            self.head.weight.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(settings.seed))
            self.head.bias.zero_()
        run = self.network.hidden_states
        self._states = torch.compile(run, dynamic=True) if settings.compile else run
        self.step_number, self.spent_s = 0, 0.0
        self._epoch_batches: tuple[int, list[list[int]]] = (-1, [])
        self.n_steps = max(1, int(len(self._batches(0)) * settings.epochs))
        self._optimizer = torch.optim.AdamW(self._groups(), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)

    @property
    def progress(self) -> float:
        """Share of the run done, in [0, 1]."""
        return self.step_number / self.n_steps

    def step(self) -> float:
        """Take one optimiser step and return its loss."""
        started = time.perf_counter()
        epoch, number = divmod(self.step_number, len(self._batches(0)))
        batches = self._batches(epoch)
        places = batches[number % len(batches)]
        rng = np.random.default_rng([self.settings.seed, self.step_number])
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * cosine(self.progress, self.settings.warmup)
        loss, _ = self._loss(places, rng)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(self.network.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step_number += 1
        self.spent_s += time.perf_counter() - started
        return float(loss.detach())

    def held_out_cosine(self) -> float:
        """Return the mean cosine between the last position's guess and the encoder's vector, on held-out texts."""
        batches = self._by_length(self.held_out)
        with torch.no_grad():
            return float(torch.cat([self._loss(places, None)[1] for places in batches]).mean())

    def _loss(self, places: list[int], rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        """Return the loss, and float32 [text] cosines at the last position."""
        ids, weights, last = self._batch(places, rng)
        with torch.autocast("cpu", torch.bfloat16):
            states = self._states(ids)
        targets = F.normalize(torch.from_numpy(self._vectors[places].astype(np.float32)) - self._mean, dim=1)
        row, _ = torch.nonzero(weights, as_tuple=True)
        guesses = F.normalize(self.head(states[weights > 0].float()), dim=1)
        misses = 1 - (guesses * targets[row]).sum(1)
        at_end = F.normalize(self.head(states[torch.arange(len(places)), last].float()), dim=1)
        return (misses * weights[weights > 0]).sum() / len(places), (at_end * targets).sum(1).detach()

    def _batch(self, places: list[int], rng: np.random.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return int64 ids and float32 weights [text, position], and int64 [text], the last position of each."""
        lengths = [len(self._framed[i][0]) for i in places]
        ids = np.zeros((len(places), max(lengths)), np.int64)
        weights = np.zeros(ids.shape, np.float32)
        for row, (i, length) in enumerate(zip(places, lengths, strict=True)):
            one, start = self._framed[i]
            ids[row, :length] = one
            inside = np.linspace(0, 1, length - start, dtype=np.float32)
            if self._is_answer[i]:
                ramp = 0.05 + inside**ANSWER_RAMP
                weights[row, start:length] = ramp / ramp.sum()
            else:
                weights[row, start:length] = INSIDE_WEIGHT * inside / inside.sum()
                weights[row, length - 1] = 1.0
            if rng is not None:
                end = length if self._is_answer[i] else length - 1
                hit = start + np.flatnonzero(rng.random(end - start) < self.settings.token_noise)
                ids[row, hit] = rng.integers(0, self.network.config.vocab_size, len(hit))
        return torch.from_numpy(ids), torch.from_numpy(weights), torch.tensor(lengths) - 1

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch_batches[0] != epoch:
            rng = np.random.default_rng([self.settings.seed, 1_000_003, epoch])
            batches = self._by_length(self.training, rng.uniform(0.9, 1.1, len(self.training)))
            rng.shuffle(batches)
            self._epoch_batches = (epoch, batches)
        return self._epoch_batches[1]

    def _by_length(self, places: list[int], jitter: NDArray[np.float64] | None = None) -> list[list[int]]:
        lengths = [len(self._framed[i][0]) for i in places]
        return [[places[i] for i in batch] for batch in by_length(lengths, self.settings.batch_tokens, jitter)]

    def _groups(self) -> list[dict[str, Any]]:
        embedding = self.network.model.embed_tokens.weight
        matrices = [p for p in self.network.model.parameters() if p.dim() > 1 and p is not embedding]
        plain = [p for p in self.network.model.parameters() if p.dim() <= 1] + [embedding, *self.head.parameters()]
        decay = self.settings.weight_decay
        return [{"params": matrices, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "network": self.network.state_dict(), "head": self.head.state_dict(),
            "optimizer": self._optimizer.state_dict(), "step": self.step_number, "spent_s": self.spent_s,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.network.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.spent_s = state["step"], state["spent_s"]
