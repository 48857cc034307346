"""The int8 KV cache: scales from texts, a second graph in the folder, and what it then holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from guardrail.engines.base import Feed
from guardrail.engines.onnx import OnnxEngine
from guardrail.errors import CheckpointError, ConfigurationError
from guardrail.exported import FILES, KV_FILES, KV_MODEL_FILE, KV_SCALES_FILE, MANIFEST_FILE, read_manifest
from guardrail.onnx_export import calibrate, export_checkpoint
from guardrail.onnx_export.calibrate import HEADROOM, calibrate_kv
from guardrail.onnx_export.calibration_texts import default_rows, file_rows
from guardrail.testing import default_tokenizer
from tests.conftest import open_onnx
from tests.tiny import VOCABULARY, write_tiny

IDS = np.random.default_rng(0).integers(0, VOCABULARY, 400).tolist()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An fp32 export with an int8 KV cache besides; heads of 10 are padded to 16."""
    checkpoint = write_tiny(tmp_path_factory.mktemp("kv") / "checkpoint", head_dim=10)
    folder = export_checkpoint(checkpoint, checkpoint.parent / "export", precision="fp32")
    calibrate_kv(folder)
    return folder


@pytest.fixture
def exported(calibrated: Path, tmp_path: Path) -> Path:
    """The same export, to do things to."""
    return Path(shutil.copytree(calibrated, tmp_path / "export"))


def held(engine: OnnxEngine, ids: list[int]) -> dict[str, NDArray[np.float32]]:
    session = engine.open()
    engine.step([Feed(session, ids)])
    found = {name: array.astype(np.float32) for name, array in session.cached().items()}
    session.close()
    return found


def test_scales_leave_room_above_the_largest_that_the_texts_made(calibrated: Path) -> None:
    """Of a value's channel by itself; of a key's channel and its partner, the length of the two; 1 for padding."""
    engine = open_onnx(calibrated)
    caches = [held(engine, ids) for ids in default_rows(default_tokenizer(), 512)]
    for name, scale in load_file(calibrated / KV_SCALES_FILE).items():
        sizes = np.concatenate([cache[name] for cache in caches], axis=1)
        if name.startswith("key"):
            lengths = np.sqrt(sizes[..., :8] ** 2 + sizes[..., 8:] ** 2)
            sizes = np.concatenate([lengths, lengths], axis=-1)
        largest = np.abs(sizes).max(1)
        assert (largest > 0).sum(-1).tolist() == [10, 10]
        expected = np.where(largest > 0, largest * HEADROOM / 127, 1)
        assert np.allclose(scale, expected, rtol=1e-5), name


def test_the_cache_holds_what_the_float_cache_holds_in_units_of_the_scales(calibrated: Path) -> None:
    """Rounded to the nearest. In the first layer nothing else differs."""
    floats, ints = (held(open_onnx(calibrated, kv_precision=kv), IDS) for kv in ("fp32", "int8"))
    scales = load_file(calibrated / KV_SCALES_FILE)
    for name in ("key_0", "value_0"):
        units = floats[name] / scales[name][:, None]
        assert np.abs(np.clip(units, -128, 127) - ints[name]).max() < 0.501


def test_far_positions_keep_the_room_that_near_ones_were_given(exported: Path, tmp_path: Path) -> None:
    """A key is turned as positions go on: the same tokens, 300 positions later, stay below 127 / `HEADROOM`."""
    words = [f"word{i}" for i in range(60)]
    near = tmp_path / "near.txt"
    near.write_text("\n\n".join(" ".join(words[i:] + words[:i]) for i in range(6)))
    calibrate_kv(exported, texts=near)
    rows = file_rows(near, default_tokenizer(), 200)
    found = held(open_onnx(exported, kv_precision="int8"), [*IDS[:300], *rows[0]])["key_0"][:, 300:]
    assert np.abs(found).max() <= np.ceil(127 / HEADROOM)


def test_a_calibrated_folder_says_on_what(calibrated: Path) -> None:
    """How many texts and tokens, their hash, and the files; the cache in fp32 is what it was."""
    manifest = read_manifest(calibrated)
    rows = default_rows(default_tokenizer(), 512)
    assert manifest.kv_int8 is not None
    assert (manifest.kv_int8.n_texts, manifest.kv_int8.n_tokens) == (len(rows), sum(map(len, rows)))
    assert (manifest.kv_int8.headroom, len(manifest.kv_int8.texts_sha256)) == (HEADROOM, 64)
    assert {path.name for path in calibrated.iterdir()} == {*FILES, *KV_FILES, MANIFEST_FILE}
    assert manifest.identity("fp32") == manifest.sha256 == manifest.model_copy(update={"kv_int8": None}).sha256
    assert open_onnx(calibrated, kv_precision="int8").info.sha256 == manifest.identity("int8") != manifest.sha256


def test_other_texts_make_another_model(exported: Path, tmp_path: Path) -> None:
    """Other scales may give other verdicts: records tell them apart. The same texts give the same bytes."""
    before, text = read_manifest(exported), tmp_path / "texts.txt"
    text.write_text("\n\n".join(f"{i} is a number, and {i + 1} is the next one." for i in range(60)))
    calibrate_kv(exported, texts=text)
    assert read_manifest(exported).identity("int8") != before.identity("int8")
    assert read_manifest(exported).sha256 == before.sha256
    calibrate_kv(exported)
    assert read_manifest(exported) == before


def test_a_folder_without_scales_has_no_int8_cache(calibrated: Path, tmp_path: Path) -> None:
    """Asking for one is an error that says what to run, not another cache."""
    folder = export_checkpoint(calibrated.parent / "checkpoint", tmp_path / "export")
    with pytest.raises(ConfigurationError, match="guardrail calibrate-kv"):
        open_onnx(folder, kv_precision="int8")
    with pytest.raises(ConfigurationError, match="no scales"):
        read_manifest(folder).identity("int8")


def test_exporting_again_replaces_the_scales_too(exported: Path, calibrated: Path) -> None:
    """They belong to the weights that were calibrated."""
    export_checkpoint(calibrated.parent / "checkpoint", exported, precision="fp32")
    assert read_manifest(exported).kv_int8 is None
    assert not (exported / KV_MODEL_FILE).exists()


def test_a_calibration_that_is_killed_leaves_a_whole_export(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the files and the manifest: the old scales are gone, the export still runs, nothing lies around."""

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate, "KVCalibration", killed)
    with pytest.raises(KeyboardInterrupt):
        calibrate_kv(exported)
    monkeypatch.undo()
    assert read_manifest(exported).kv_int8 is None
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]
    calibrate_kv(exported)
    assert read_manifest(exported).kv_int8 is not None


@pytest.mark.parametrize("file", KV_FILES)
def test_a_touched_file_of_the_calibration_is_refused_by_name(file: str, exported: Path) -> None:
    """As every file of the folder."""
    data = bytearray((exported / file).read_bytes())
    data[len(data) // 2] ^= 1
    (exported / file).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{file} was changed"):
        read_manifest(exported)


def test_texts_are_read_from_plain_text_and_from_json_lines(tmp_path: Path) -> None:
    """Paragraphs, or a text or a conversation a line; what else a line holds does not count."""
    tokenizer = default_tokenizer()
    (tmp_path / "a.txt").write_text("One.\n\nTwo,\nstill two.\n\n\n")
    lines = [{"text": "One."}, {"text": "Two,\nstill two.", "id": 3}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    rows = file_rows(tmp_path / "a.txt", tokenizer, 512)
    assert rows == file_rows(tmp_path / "a.jsonl", tokenizer, 512)
    assert len(rows) == 2
    conversation = [{"role": "user", "content": "One."}, {"role": "assistant", "content": "Two\u2028or three."}]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": conversation}, ensure_ascii=False), "utf-8")
    (ids,) = file_rows(tmp_path / "b.jsonl", tokenizer, 512)
    assert ids.count(tokenizer.control_id("<|im_start|>")) == 2
    assert file_rows(tmp_path / "b.jsonl", tokenizer, 9) == [ids[:9]]


def as_latin_1(folder: Path) -> None:
    (folder / "texts.txt").write_bytes("für".encode("latin-1"))


def as_few_words(folder: Path) -> None:
    (folder / "texts.txt").write_text("Hello.")


def as_nothing(folder: Path) -> None:
    (folder / "texts.txt").write_text("\n\n")


@pytest.mark.parametrize(
    ("write", "says"),
    [(as_latin_1, "is not UTF-8"), (as_few_words, "tokens are too few"), (as_nothing, "0 tokens are too few")],
)
def test_texts_that_will_not_do_are_refused(
    write: Callable[[Path], None], says: str, exported: Path, tmp_path: Path
) -> None:
    """And the folder stays as it was."""
    write(tmp_path)
    before = read_manifest(exported)
    with pytest.raises(ConfigurationError, match=says):
        calibrate_kv(exported, texts=tmp_path / "texts.txt")
    assert read_manifest(exported) == before


@pytest.mark.parametrize("line", ["{", "3", '{"prompt": "x"}', '{"text": 3}', '{"messages": [{"role": "nobody"}]}'])
def test_a_line_that_is_no_text_is_named(line: str, tmp_path: Path) -> None:
    """By file and number, without its content."""
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n\n{line}\n')
    with pytest.raises(ConfigurationError, match=r"a\.jsonl:3 holds neither a text nor messages"):
        file_rows(tmp_path / "a.jsonl", default_tokenizer(), 512)


def test_only_exports_are_calibrated(calibrated: Path) -> None:
    """A checkpoint, or a folder that is not there, is none."""
    for folder in (calibrated.parent / "checkpoint", calibrated / "nowhere"):
        with pytest.raises(CheckpointError, match="is no exported folder"):
            calibrate_kv(folder)
