"""Reward models as transformers keeps them: sequence classification with one label, a chat template, one score."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigurationError, EngineError, MissingExtra
from guardrail.json_text import well_formed
from guardrail.training.gen.following import without_file_bars
from guardrail.training.lengths import cut_middle
from guardrail.training.rewards.helpfulness import Score, chat, finite
from guardrail.training.rewards.values import Completion

try:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

_LOADING_FAILS = (OSError, ValueError, RuntimeError)


class Classifier:
    """Scores answers with a checkpoint. Safe for many threads: one at a time reads.

    It runs on a GPU if there is one. Code that comes with a checkpoint is not run: WorldPM brings such code, and runs
    behind a vLLM server instead (`kind = "pooling"`).
    """

    def __init__(
        self,
        source: str | Path,
        *,
        revision: str | None = None,
        max_length: int = 4096,
        batch: int = 8,
        device: str = "auto",
    ) -> None:
        """Load the weights.

        Args:
            source: folder or hub id.
            revision: commit or branch of a hub id.
            max_length: most tokens of a conversation; the middle of longer ones is left out.
            batch: conversations read at once.
            device: "auto" takes a GPU where there is one.

        Raises:
            ConfigurationError: it cannot be loaded, has more than one label, or no chat template.
        """
        self._device = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        self._tokenizer, self._model = _load(source, revision, self._device)
        self._max_length, self._batch = max_length, batch
        self._turn = threading.Lock()
        self.identity = {"helpfulness": str(source), "revision": revision or "", "kind": "checkpoint"}

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """Score the answers, those of like length in one batch; see `HelpfulnessModel.score`."""
        found: dict[int, Score] = {}
        rows: dict[int, list[int]] = {}
        for i, completion in enumerate(completions):
            try:
                rows[i] = self._ids(completion)
            except ConfigurationError as error:
                found[i] = error
        order = sorted(rows, key=lambda i: len(rows[i]))
        for start in range(0, len(order), self._batch):
            some = order[start : start + self._batch]
            found |= zip(some, self._scores([rows[i] for i in some]), strict=True)
        return [found[i] for i in range(len(completions))]

    def close(self) -> None:
        """Give the weights up."""
        self._model = None

    def _ids(self, completion: Completion) -> list[int]:
        return encoded(self._tokenizer, chat(completion.prompt, completion.answer), self._max_length)

    def _scores(self, rows: Sequence[list[int]]) -> list[Score]:
        try:
            with self._turn, torch.inference_mode():
                scores = scores_of(self._model, rows, self._model.config.get_text_config().pad_token_id)
        except RuntimeError as error:  # out of memory, mostly
            if len(rows) == 1:
                return [EngineError(f"the helpfulness model failed: {type(error).__name__}")]
            return [one for row in rows for one in self._scores([row])]
        return [finite(score) for score in scores]


def scores_of(model: Any, rows: Sequence[list[int]], pad_id: int) -> list[float]:
    """Return the score of each row of ids, read in one batch; gradients and modes are the caller's concern."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    scores: list[float] = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    return scores


def encoded(tokenizer: Any, turns: Sequence[dict[str, str]], max_length: int) -> list[int]:
    """Return a conversation's ids as its chat template renders it, at most `max_length`; its two ends stay.

    Special tokens that are written out in a turn are taken apart: a model that is rewarded could end its answer with
    one and begin a turn that praises it.

    Raises:
        ConfigurationError: the template refuses the conversation.
    """
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if len(token.content) > 1]
    plain = [{**turn, "content": _apart(well_formed(turn["content"]), special)} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=False)
    except Exception as error:  # a template may raise whatever it likes: it refuses a role, an order
        raise ConfigurationError(f"the chat template refuses a conversation: {type(error).__name__}") from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return cut_middle(ids, max_length, max_length // 3)


def _apart(text: str, special: Sequence[str]) -> str:
    for token in special:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _load(source: str | Path, revision: str | None, device: str) -> tuple[Any, Any]:
    where: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    tokenizers: Any = AutoTokenizer
    models: Any = AutoModelForSequenceClassification
    dtype = "auto" if device != "cpu" else torch.float32
    try:
        with without_file_bars():
            tokenizer = tokenizers.from_pretrained(str(source), **where)
            model = models.from_pretrained(str(source), dtype=dtype, **where).to(device).eval()
    except _LOADING_FAILS as error:
        raise ConfigurationError(
            f"cannot load {source} as a reward model: {type(error).__name__}",
            hint="a folder or hub id of a sequence-classification checkpoint that transformers can read",
        ) from error
    if model.config.num_labels != 1:
        raise ConfigurationError(f"{source} has {model.config.num_labels} labels; a reward model has one")
    if not tokenizer.chat_template:
        raise ConfigurationError(f"the tokenizer of {source} has no chat template")
    config = model.config.get_text_config()
    if config.pad_token_id is None:  # else the model takes one row at a time, and finds no row's last token
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if config.pad_token_id is None:
        raise ConfigurationError(f"{source} has neither a padding nor an end token")
    return tokenizer, model
