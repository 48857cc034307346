"""`guardrail train distil`: texts, the encoder's vectors of them, and the backbone that learns to foretell them."""

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from guardrail.checkpoint import TOKENIZER_FILE
from guardrail.encoding import GuardTokenizer
from guardrail.training.distil.settings import DistilSettings
from guardrail.training.distil.texts import Framing, Place, Unit, read_units
from guardrail.training.distil.training import Distiller
from guardrail.training.distil.vectors import (
    UNITS_FILE,
    VECTORS_FOLDER,
    load_units,
    principal,
    save_units,
    text_vectors,
    token_vectors,
)
from guardrail.training.run_folder import RunFolder, progress_bar
from guardrail.training.settings import load_settings
from guardrail.whole_files import whole_folder


def main(config: Path, *, resume: bool = False) -> None:
    """Run the distillation that a TOML file describes, or go on with it."""
    settings = load_settings(config, DistilSettings)
    run(settings, RunFolder(settings.output, config, resume=resume))


def run(settings: DistilSettings, folder: RunFolder) -> None:
    """Distil and write a checkpoint in the published format (heads untrained)."""
    torch.set_num_threads(settings.threads)
    tokenizer = GuardTokenizer.from_file(settings.tokenizer)
    distiller = _distiller(settings, _units(settings, folder), tokenizer, folder)
    if state := folder.load():
        distiller.restore(state)
    _loop(distiller, settings, folder)
    with whole_folder(folder.path / "checkpoint") as unfinished:
        distiller.network.save_checkpoint(unfinished, "f32")
        (unfinished / TOKENIZER_FILE).write_bytes(settings.tokenizer.read_bytes())


def _units(settings: DistilSettings, folder: RunFolder) -> list[Unit]:
    """Return the run's texts, which it keeps from its beginning on."""
    path = folder.path / UNITS_FILE
    if not path.exists():
        with Console(stderr=True).status("reading the texts"):
            save_units(read_units(settings), path)
    return load_units(path)


def _distiller(settings: DistilSettings, units: list[Unit], tokenizer: GuardTokenizer, folder: RunFolder) -> Distiller:
    vectors = text_vectors([unit.text for unit in units], settings.encoder, folder.path / VECTORS_FOLDER)
    framing = Framing(tokenizer, settings.max_length)
    framed = [(np.asarray(ids, np.int32), start) for ids, start in map(framing.encode, units)]
    folder.log({"event": "texts", "texts": len(units), "tokens": sum(len(ids) for ids, _ in framed)})
    is_answer = np.array([unit.place is Place.ANSWER for unit in units])
    distiller = Distiller(settings, framed, is_answer, vectors, tokenizer.vocab_size)
    if settings.embedding_rms:
        found = token_vectors(tokenizer, settings.encoder, folder.path / "tokens.npy")
        size = settings.shape.hidden_size
        start = principal(found, size, settings.embedding_rms, settings.seed)
        with torch.no_grad():
            distiller.network.model.embed_tokens.weight.copy_(torch.from_numpy(start))
    return distiller


def _loop(distiller: Distiller, settings: DistilSettings, folder: RunFolder) -> None:
    saved = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("distil", total=distiller.n_steps, completed=distiller.step_number, status="")
        while distiller.step_number < distiller.n_steps:
            loss = distiller.step()
            if distiller.step_number % 20 == 0:
                bar.update(task, completed=distiller.step_number, status=f"loss {loss:.3f}")
            if distiller.step_number % 200 == 0:
                found = distiller.held_out_cosine()
                folder.log({
                    "step": distiller.step_number, "loss": loss, "held_out_cosine": found, "spent_s": distiller.spent_s
                })  # fmt: skip
            if time.monotonic() - saved > 60 * settings.save_minutes:
                folder.save(distiller.state())
                saved = time.monotonic()
    folder.save(distiller.state())
    folder.log({
        "event": "end", "step": distiller.step_number, "held_out_cosine": distiller.held_out_cosine(),
        "spent_s": distiller.spent_s,
    })  # fmt: skip
