"""What the encoder says about the texts, kept in part files, so that a killed run asks for no vector twice."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardrail.encoding import GuardTokenizer
from guardrail.training.distil.encoder import SentenceEncoder
from guardrail.training.distil.settings import EncoderSettings
from guardrail.training.distil.texts import Place, Unit
from guardrail.training.run_folder import progress_bar, save_array
from guardrail.whole_files import write_whole

UNITS_FILE, VECTORS_FOLDER = "units.jsonl", "vectors"
"""In a distillation's folder: its texts, and the encoder's vectors of them."""

PART_TEXTS = 4096
"""Texts of a part file. Our choice: some ten seconds of work."""

Halves = NDArray[np.float16]
Floats = NDArray[np.float32]


def save_units(units: Iterable[Unit], path: Path) -> None:
    """Write units as JSON lines."""
    lines = [json.dumps([unit.text, unit.place.value, unit.is_plain], ensure_ascii=False) + "\n" for unit in units]
    write_whole(path, "".join(lines).encode("utf-8", "surrogatepass"))


def load_units(path: Path) -> list[Unit]:
    """Return the units that `save_units` wrote."""
    lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
    return [Unit(text, Place(place), *more) for text, place, *more in map(json.loads, lines)]


def text_vectors(texts: Sequence[str], settings: EncoderSettings, folder: Path) -> Halves:
    """Return float16 [text, size], from part files, which are called by what they hold, or from the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder: SentenceEncoder | None = None
    parts = []
    with progress_bar() as bar:
        task = bar.add_task("texts encoded", total=len(texts), status="")
        for start in range(0, len(texts), PART_TEXTS):
            some = texts[start : start + PART_TEXTS]
            path = folder / f"{part_name(some, settings)}.npy"
            if not path.exists():
                encoder = encoder or SentenceEncoder(settings)
                save_array(path, encoder.encode(some).astype(np.float16))
            parts.append(np.load(path, allow_pickle=False))
            bar.advance(task, len(some))
    return np.concatenate(parts)


def part_name(texts: Sequence[str], settings: EncoderSettings) -> str:
    """Return a hash of texts and of what their vectors depend on besides."""
    asked = {"model": settings.model, "revision": settings.revision, "prefix": settings.prefix}
    told = json.dumps([asked, settings.max_tokens, list(texts)])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def token_vectors(tokenizer: GuardTokenizer, settings: EncoderSettings, path: Path) -> Floats:
    """Return float32 [token, size]: the encoder's vectors of the vocabulary's tokens, each as a text of its own; zeros
    for control tokens and for tokens that are no whole characters or blank.
    """
    if not path.exists():
        texts = [tokenizer.decode([i]).strip() for i in range(tokenizer.vocab_size)]
        places = [i for i, text in enumerate(texts) if text and "\ufffd" not in text]
        encoder = SentenceEncoder(settings)
        vectors = np.zeros((len(texts), encoder.size), np.float32)
        vectors[places] = encoder.encode([texts[i] for i in places])
        save_array(path, vectors)
    found: Floats = np.load(path, allow_pickle=False)
    return found


def principal(vectors: Floats, size: int, rms: float, seed: int) -> Floats:
    """Return float32 [token, size]: the first principal components of the token vectors, scaled to a root mean square;
    random ones of half that size where a row holds nothing.
    """
    known = vectors.any(1)
    mean = vectors[known].mean(0)
    _, _, axes = np.linalg.svd(vectors[known] - mean, full_matrices=False)
    found = np.zeros((len(vectors), size), np.float32)
    n_axes = min(size, len(axes))
    found[known, :n_axes] = (vectors[known] - mean) @ axes[:n_axes].T
    found[known] /= np.sqrt((found[known] ** 2).mean())
    found[~known] = 0.5 * np.random.default_rng(seed).standard_normal((int((~known).sum()), size))
    return (rms * found).astype(np.float32)
