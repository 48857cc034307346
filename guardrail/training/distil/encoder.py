"""A transformers encoder as a teacher: texts to unit vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.training.distil.settings import EncoderSettings
from guardrail.training.lengths import by_length, cut_middle

try:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging
except ModuleNotFoundError as error:
    raise MissingExtra("transformers", "train") from error

Floats = NDArray[np.float32]


class SentenceEncoder:
    """Mean of the last states, scaled to length 1. Not safe for two threads.

    Attributes:
        size: length of a vector.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        """Load the model and its tokenizer.

        Raises:
            ConfigurationError: there is no such model, or it cannot be reached.
        """
        revision = settings.revision or None
        # A pooler that the file lacks is not missed.
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped in transformers
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(settings.model, revision=revision)
            self._model: Any = AutoModel.from_pretrained(settings.model, revision=revision, dtype=torch.bfloat16).eval()
        except (OSError, ValueError) as error:
            hint = "name a folder that holds the model, or a hub id and be online"
            raise ConfigurationError(f"cannot load the encoder {settings.model}", hint=hint) from error
        self._settings = settings
        self.size = int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return float32 [text, size], in the texts' order; no text may be empty."""
        prefixed, most = [self._settings.prefix + text for text in texts], self._settings.max_tokens
        ids = [cut_middle(i, most, most * 2 // 3) for i in self._tokenizer(prefixed, verbose=False)["input_ids"]]
        vectors = np.zeros((len(ids), self.size), np.float32)
        for places in by_length([len(i) for i in ids], self._settings.batch_tokens):
            vectors[places] = self._vectors([ids[i] for i in places])
        return vectors

    def _vectors(self, ids: Sequence[Sequence[int]]) -> Floats:
        longest = max(map(len, ids))
        padded, mask = np.zeros((len(ids), longest), np.int64), np.zeros((len(ids), longest), np.int64)
        for row, one in enumerate(ids):
            padded[row, : len(one)], mask[row, : len(one)] = one, 1
        with torch.inference_mode():
            seen = torch.from_numpy(mask)
            states = self._model(input_ids=torch.from_numpy(padded), attention_mask=seen).last_hidden_state.float()
            mean = (states * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
            return np.asarray(F.normalize(mean, dim=1).numpy())
