"""One call loads a hub id, a checkpoint folder or an exported folder, and says what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail.checkpoint import Checkpoint
from guardrail.engines.runtime import Runtime
from guardrail.errors import CheckpointError, ConfigurationError, EngineError
from guardrail.guard import Guard
from guardrail.loader import find_checkpoint, load_model
from guardrail.onnx_export import export_checkpoint
from tests.tiny import write_tiny


def test_an_exported_folder_loads_as_it_is(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Its own precision counts; another one, or torch, is refused with the reason."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export", precision="fp32", name="mine")
    assert load_model(folder).engine.info.precision == "fp32"
    assert Guard.load(folder).engine.info.precision == "fp32"
    with pytest.raises(ConfigurationError, match="exported as fp32"):
        load_model(folder, precision="int8")
    with pytest.raises(ConfigurationError, match="checkpoint folder"):
        load_model(folder, engine="torch")


def test_an_unrelated_manifest_makes_no_export_of_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A web page's, say; a damaged one of an export still is the export's."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "manifest.json").write_text('{"manifest_version": 3}')
    assert load_model(folder, cache_dir=tmp_path / "cache").engine.info.name == "checkpoint"
    exported = export_checkpoint(tiny_checkpoint, tmp_path / "export")
    (exported / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json is broken"):
        load_model(exported)


def test_both_engines_judge_alike(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """fp32 ONNX against the torch reference, through the same call."""
    onnx = Guard.load(tiny_checkpoint, precision="fp32", cache_dir=tmp_path)
    torch = Guard.load(tiny_checkpoint, engine="torch")
    for text in ("hello", "你好，世界", "how do I ..."):
        left, right = onnx.judge_prompt(text), torch.judge_prompt(text)
        assert left.risk_vector == pytest.approx(right.risk_vector, abs=1e-4)
        tokens = zip(onnx.judge_response(text, text * 3), torch.judge_response(text, text * 3), strict=True)
        assert all((a.start, a.end, a.verdict.risk) == (b.start, b.end, b.verdict.risk) for a, b in tokens)


def run_offline(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: the hub's library reads its environment when it is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_hub_id_without_network_says_what_to_do(tmp_path: Path) -> None:
    """One line that names the id and the way out, as HF_HUB_OFFLINE=1 or as an argument; no library's exception."""
    loading = "from guardrail import Guard; Guard.load('Qwen/Qwen3Guard-Stream-0.6B')"
    last = run_offline(loading, tmp_path).stderr.strip().splitlines()[-1]
    assert last.startswith("guardrail.errors.ConfigurationError: Qwen/Qwen3Guard-Stream-0.6B is no folder here")
    assert "download it on a machine with internet access and pass the folder" in last
    with pytest.raises(ConfigurationError, match="download it on a machine"):
        find_checkpoint("no-such-owner/no-such-model", offline=True)


def test_what_the_hubs_cache_holds_loads_offline(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Downloaded once, a hub id works without network, and records carry the id and not a folder's name."""
    repository = tmp_path / "hub" / "models--Qwen--Qwen3Guard-Stream-0.6B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tiny_checkpoint, repository / "snapshots" / ("0" * 40))
    code = "from guardrail import Guard; print(Guard.load('Qwen/Qwen3Guard-Stream-0.6B').engine.info.name)"
    done = run_offline(code, tmp_path)
    assert done.stdout == "Qwen/Qwen3Guard-Stream-0.6B\n", done.stderr
    assert len(list((tmp_path / "guardrail").glob("*-int8-*/"))) == 1


def test_what_is_neither_folder_nor_hub_id_is_refused(tmp_path: Path) -> None:
    """A typo in a path is no download."""
    for source in ("./no/such/folder", "", "x" * 5000):
        with pytest.raises(ConfigurationError, match="neither a folder nor a hub id"):
            load_model(source)
    with pytest.raises(CheckpointError, match="holds neither"):
        load_model(tmp_path)
    with pytest.raises(ConfigurationError, match="valid: onnx, torch"):
        load_model(tmp_path, engine="tensorrt")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "int2"}, "'int2'; valid: fp32, int8"),
        ({"engine": "torch", "precision": "int8"}, "torch engine runs in fp32 or bf16"),
        ({"revision": "main"}, "folders have no revisions"),
        ({"threads": 0}, "at least 1"),
        ({"engine": "torch", "threads": 2}, "threads belong to the whole process"),
    ],
)
def test_what_was_asked_for_happens_or_is_refused(
    options: dict[str, Any], says: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """No option of a checkpoint folder is ignored without a word."""
    with pytest.raises(ConfigurationError, match=says):
        Guard.load(tiny_checkpoint, cache_dir=tmp_path, **options)


def test_the_embedded_model_has_an_int8_kv_cache() -> None:
    """It takes a quarter of the memory and says so; an export that was not calibrated is refused with what to do."""
    with Guard.default(runtime=Runtime(kv_precision="int8")) as guard:
        assert guard.engine.info.kv_precision == "int8"
        assert guard.check_prompt("How do I bake bread?").failure is None


def test_an_export_without_scales_cannot_have_an_int8_kv_cache(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Nothing falls back to fp32 without a word."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export")
    with pytest.raises(ConfigurationError, match="calibrate-kv"):
        Guard.load(folder, runtime=Runtime(kv_precision="int8"))


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize(
    ("tokenizer", "says"), [(None, r"tokenizer\.json"), ("{}", "not a Qwen3 tokenizer"), ("x", "cannot be read")]
)
def test_a_checkpoint_without_its_tokenizer_is_refused(
    tokenizer: str | None, says: str, engine: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """By both engines alike: missing, foreign or broken."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "tokenizer.json").unlink()
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    with pytest.raises(CheckpointError, match=says):
        load_model(folder, engine=engine, cache_dir=tmp_path / "cache")


def test_the_torch_engine_is_the_checkpoint_itself(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Nothing is exported; its identity is the checkpoint's."""
    engine = load_model(tiny_checkpoint, engine="torch", precision="fp32", cache_dir=tmp_path).engine
    assert (engine.info.engine, engine.info.precision, engine.info.name) == ("torch", "fp32", tiny_checkpoint.name)
    assert engine.info.sha256 == Checkpoint.open(tiny_checkpoint).sha256()
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_of_another_model_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """More tokens than embedding rows cannot belong together."""
    folder = write_tiny(tmp_path / "small", vocab_size=1000)
    with pytest.raises(CheckpointError, match="different models"):
        load_model(folder, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("blocked", "call", "extra"),
    [
        ("onnx", "Guard.load({folder!r}, cache_dir={cache!r})", "export"),
        ("filelock", "Guard.load({folder!r}, cache_dir={cache!r})", "export"),
        ("torch", "Guard.load({folder!r}, engine='torch')", "torch"),
        ("huggingface_hub", "Guard.load('Qwen/Qwen3Guard-Stream-0.6B')", "export"),
    ],
)
def test_a_missing_extra_is_named(blocked: str, call: str, extra: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The message holds the command that installs it."""
    called = call.format(folder=str(tiny_checkpoint), cache=str(tmp_path))
    code = f"import sys; sys.modules[{blocked!r}] = None\nfrom guardrail import Guard\n{called}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "MissingExtra" in last
    assert f"[{extra}]" in last


def test_a_closed_guard_is_a_clear_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Judging after close does not crash the runtime."""
    guard = Guard.load(tiny_checkpoint, cache_dir=tmp_path)
    guard.close()
    with pytest.raises(EngineError, match="closed"):
        guard.judge_prompt("hi")


def test_a_moved_export_still_loads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Folders hold no paths."""
    folder = export_checkpoint(tiny_checkpoint, tmp_path / "export")
    shutil.move(folder, tmp_path / "elsewhere")
    assert load_model(tmp_path / "elsewhere").engine.info.precision == "int8"
