"""The report of a run, from its log."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from guardrail.training import sft
from guardrail.training.tuning.page import read_log, write_report
from tests.tiny import write_tiny
from tests.training.tuning.toy import log_of, toy_rows, write_config, write_rows


def write_log(folder: Path, lines: list[dict[str, object]]) -> None:
    (folder / "settings.toml").write_text("epochs = 3\n")
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


def test_a_run_leaves_a_page_with_its_curves(tmp_path: Path) -> None:
    """Losses, figures, learning rate; settings and versions; no script, nothing from elsewhere."""
    write_tiny(tmp_path / "start", n_layers=1)
    write_rows(tmp_path / "toy.jsonl", list(toy_rows(1500)))
    sft.main(write_config(tmp_path, tmp_path / "start", epochs=0.2, evaluate_steps=4, log_steps=2))
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    for title in ("Loss", "Held-out loss by term", "AUC on the held-out rows", "Learning rate", "Tokens a second"):
        assert f">{title}<" in page
    assert page.count("<svg") > 5
    assert "batch_tokens" in page
    assert log_of(tmp_path / "run")[0]["transformers"] in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    HTMLParser().feed(page)


def test_steps_that_were_taken_again_are_shown_once(tmp_path: Path) -> None:
    """Of a resumed run the lines behind the saved state are of no account; nor is one that a kill cut off."""
    write_log(
        tmp_path,
        [
            {"event": "start"}, {"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}, {"step": 30, "loss": 7777.0},
            {"event": "resumed", "step": 20}, {"step": 25, "loss": 1.5}, {"step": 30, "loss": 1.0},
        ],
    )  # fmt: skip
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    assert [line["loss"] for line in read_log(tmp_path) if "loss" in line] == [3.0, 2.0, 1.5, 1.0]
    write_report(tmp_path)
    assert "7,777" not in (tmp_path / "report.html").read_text("utf-8")


def test_a_page_is_replaced_in_one_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while writing, the former one is still whole."""
    write_log(tmp_path, [{"event": "start"}, {"step": 10, "loss": 3.0}])
    write_report(tmp_path)
    before = (tmp_path / "report.html").read_text("utf-8")

    def killed(path: Path, data: bytes) -> int:
        path.write_text(data[:50].decode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text("utf-8") == before
