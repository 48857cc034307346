"""`guardrail export`, `calibrate-kv` and `verify`, in this process."""

import json
from pathlib import Path

import pytest

from guardrail.cli.main import run
from guardrail.exported import read_manifest
from tests.tiny import write_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("commands") / "checkpoint", n_layers=1)


def test_export_takes_precision_block_size_and_cache(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one go, and says what it made."""
    folder = tmp_path / "made"
    options = ["--precision", "int4", "--block-size", "64", "--kv", "int8"]
    assert run(["export", str(checkpoint), str(folder), *options]) == 0
    manifest = read_manifest(folder)
    assert manifest.kv_int8 is not None
    assert (manifest.precision, manifest.block_size) == ("int4", 64)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{folder}: int4, ")
    assert second.startswith(f"{folder}: int8 KV cache, from {manifest.kv_int8.n_texts} texts of ")


def test_calibrate_kv_reads_the_texts_that_are_named(checkpoint: Path, tmp_path: Path) -> None:
    """Afterwards the folder says how many there were."""
    folder, texts = tmp_path / "made", tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"{i} apples, no pears. " * 9}) + "\n" for i in range(7)))
    assert run(["export", str(checkpoint), str(folder)]) == 0
    assert run(["calibrate-kv", str(folder), "--texts", str(texts)]) == 0
    found = read_manifest(folder).kv_int8
    assert found is not None
    assert found.n_texts == 7


def test_verify_compares_the_caches(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line of JSON for each precision, against the fp32 cache."""
    assert run(["verify", str(checkpoint), "--kv", "int8", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["precision"] for report in found] == ["fp32", "int8"]
    assert {(report["kv_precision"], report["reference"]) for report in found} == {("int8", "an fp32 KV cache")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["calibrate-kv", "{checkpoint}"], "is no exported folder (make one with guardrail export)"),
        (["calibrate-kv", "nowhere"], "nowhere is no exported folder"),
        (["export", "{checkpoint}", "out", "--precision", "fp32", "--block-size", "32"], "valid: none in fp32"),
        (["export", "{checkpoint}", "out", "--via", "optimum", "--kv", "int8"], "leave out --via"),
        (["export", "{checkpoint}", "out", "--block-size", "48"], "--block-size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(
    arguments: list[str], says: str, checkpoint: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Exit code 2, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    assert run([argument.format(checkpoint=checkpoint) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())
