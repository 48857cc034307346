"""What the encoder says about the texts, kept in part files, so that a killed run asks for no vector twice."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from guardrail.encoding import GuardTokenizer
from guardrail.training.distil.encoder import SentenceEncoder
from guardrail.training.distil.settings import EncoderSettings
from guardrail.training.distil.texts import Place, Unit
from guardrail.whole_files import write_whole

PART_TEXTS = 4096
"""Texts of a part file. Our choice: some ten seconds of work."""

NDArray16 = NDArray[np.float16]
Floats = NDArray[np.float32]


def kept_units(folder: Path, read: Sequence[Unit] | None) -> list[Unit]:
    """Return the units of a run, which it keeps in units.jsonl from its beginning on; `read` is what begins it."""
    path = folder / "units.jsonl"
    if read is not None:
        lines = [json.dumps([unit.text, unit.place.value], ensure_ascii=False) for unit in read]
        write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
    lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
    return [Unit(text, Place(place)) for text, place in map(json.loads, lines)]


def unit_vectors(units: Sequence[Unit], settings: EncoderSettings, folder: Path, bar: Progress) -> NDArray16:
    """Return float16 [unit, size], from the part files or from the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(units), PART_TEXTS)
    task = bar.add_task("texts encoded", total=len(units), status="")
    encoder: SentenceEncoder | None = None
    parts = []
    for start in starts:
        path = folder / f"{start:09d}.npy"
        texts = [unit.text for unit in units[start : start + PART_TEXTS]]
        if not path.exists():
            encoder = encoder or SentenceEncoder(settings)
            _save(path, encoder.encode(texts).astype(np.float16))
        parts.append(np.load(path, allow_pickle=False))
        bar.advance(task, len(texts))
    return np.concatenate(parts)


def _save(path: Path, values: NDArray16 | Floats) -> None:
    unfinished = path.with_suffix(".unfinished.npy")
    np.save(unfinished, values)
    unfinished.replace(path)


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
        _save(path, vectors)
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
