"""What `mix` writes can be trained on and evaluated as it stands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail.checkpoint import Checkpoint
from guardrail.conversation import Message, Role
from guardrail.errors import ConfigurationError
from guardrail.evaluation.rows import Tally, read_rows
from guardrail.training import sft
from guardrail.training.corpus import read_objects
from tests.tiny import write_tiny
from tests.training.mix.made import SAFE, UNSAFE, answer, mixed, prompt, sentence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a mix, with answers that were thought about and rows without a label."""
    rows = [
        prompt(f"p{i}", sentence(i), risk=UNSAFE if i % 2 else SAFE, categories=("Violent",) if i % 2 else ())
        for i in range(40)
    ]
    rows += [
        answer(f"a{i}", sentence(100 + i), sentence(200 + i), risk=UNSAFE if i % 2 else SAFE, meta={"votes": {"a": 1}})
        for i in range(40)
    ]
    thinking = Message(Role.ASSISTANT, sentence(300), "what shall I say")
    rows += [replace(answer("thought", sentence(301), ""), messages=(Message(Role.USER, sentence(301)), thinking))]
    rows += [prompt("unknown", sentence(302), risk=None)]
    folder = tmp_path_factory.mktemp("mix")
    mixed(rows, folder, keep_unlabelled=True, validation=0.2, test=0.2)
    return folder


def test_the_fine_tuning_trains_on_it(folder: Path, tmp_path: Path) -> None:
    """Two steps from a tiny checkpoint, whose weights move."""
    start = write_tiny(tmp_path / "start", n_layers=1)
    config = tmp_path / "sft.toml"
    config.write_text(
        f'data_dir = "{folder}"\nstart = "{start}"\noutput = "{tmp_path / "run"}"\nepochs = 2\nbatch_tokens = 4000\n'
        'max_length = 64\nthreads = 1\n[sources."train.parquet"]\n'
    )
    sft.main(config)
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    labelled = sum(row["risk"] is not None for row in read_objects(folder / "train.parquet"))
    assert events[1]["rows"] + events[1]["held_out"] == labelled > 30
    assert events[-1]["event"] == "end"
    before, after = (Checkpoint.open(path).config for path in (start, tmp_path / "run" / "checkpoint"))
    assert before == after
    weights = [(path / "model.safetensors").read_bytes() for path in (start, tmp_path / "run" / "checkpoint")]
    assert weights[0] != weights[1]


def test_the_evaluation_reads_it(folder: Path) -> None:
    """Labels, kinds of harm and notes are there; rows without a label are counted; thinking is passed over."""
    tally = Tally()
    rows = {
        row.id: row
        for name in ("train", "validation", "test")
        for row in read_rows(folder / f"{name}.parquet", tally=tally)
    }
    assert (len(rows), tally.n_unlabelled) == (81, 1)
    assert (rows["p1"].risk, rows["p1"].categories) == (UNSAFE, ("Violent",))
    assert rows["a1"].meta == {"votes": {"a": 1}}
    assert rows["thought"].messages[-1] == Message(Role.ASSISTANT, sentence(300))


def test_a_bad_row_is_named_by_its_number(folder: Path, tmp_path: Path) -> None:
    """As lines are, without its text; so is a file that is damaged."""
    path = tmp_path / "train.parquet"
    path.write_bytes((folder / "train.parquet").read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match=r"train\.parquet: the Parquet data is damaged"):
        list(read_rows(path))
    with pytest.raises(ConfigurationError, match=r"train\.parquet, row 1: lacks text"):
        list(read_objects(folder / "train.parquet", ("text",)))
