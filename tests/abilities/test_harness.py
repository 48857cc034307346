"""AIME-25 and GPQA through lm-eval itself: it asks our server and grades, offline."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from guardrail.cli.main import run
from tests.abilities.made import serve, write_files, write_settings

SECTION = '[{task}]\npaths = ["{folder}/{file}"]\nsamples = {k}\nharness = "lm-eval"\n'


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="needs the extra `eval`")
def test_the_packaged_tasks_grade_known_answers(tmp_path: Path) -> None:
    """One of two problems right is a half, in each of two samples; the choice (A) is right as often as it was drawn."""
    write_files(tmp_path)
    rules = [
        ("m", "loaves", ["<think>\\boxed{1}</think>so \\boxed{70}."]),
        ("m", "rolls", ["\\boxed{17}"]),
        ("m", "correct answer", ["The answer is (A)."]),
    ]
    sections = SECTION.format(task="aime", folder=tmp_path, file="aime.jsonl", k=2)
    sections += SECTION.format(task="gpqa", folder=tmp_path, file="gpqa.csv", k=1)
    with serve(tmp_path, rules) as served:
        url = f'kind = "endpoint"\nbase_urls = ["http://127.0.0.1:{served.port}/v1"]\nretries = 0\n'
        model = f'[[models]]\nname = "m"\nmodel = "m"\nmax_tokens = 500\nthinks = true\n{url}'
        path = write_settings(tmp_path, served.port, sections, models=model)
        assert run(["abilities", "--config", str(path)]) == 0
    told = json.loads((tmp_path / "out" / "abilities.json").read_text("utf-8"))["scores"]["m"]
    assert told["aime"]["shares"] == {"a0": 1.0, "a1": 0.0}
    assert (told["aime"]["n_samples"], told["aime"]["value"]) == (2, 0.5)
    assert told["gpqa"]["value"] in (0, 0.5, 1)
    assert "lm-eval" in told["gpqa"]["name"]


def test_without_the_extra_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the extra; nothing was asked."""
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    write_files(tmp_path)
    sections = SECTION.format(task="aime", folder=tmp_path, file="aime.jsonl", k=1)
    path = write_settings(tmp_path, 1, sections)
    assert run(["abilities", "--config", str(path)]) == 2
    assert "[eval]" in capsys.readouterr().err
