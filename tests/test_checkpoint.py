"""The published checkpoint format: what is read, what is written, what is refused and named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.checkpoint import Checkpoint, write_checkpoint
from guardrail.checkpoint_config import GuardConfig, tensor_shapes
from guardrail.errors import CheckpointError
from tests.tiny import tiny_config

CONFIG = tiny_config(vocab_size=50)


def random_tensors(config: GuardConfig, seed: int = 0) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Random values for every tensor."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in tensor_shapes(config).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A written checkpoint."""
    write_checkpoint(tmp_path, CONFIG, random_tensors(CONFIG), dtype="f32")
    return tmp_path


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    value = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}), "utf-8")


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
@pytest.mark.parametrize("max_shard_bytes", [10**9, 20_000])
def test_save_load_save_is_identical(tmp_path: Path, dtype: str, max_shard_bytes: int) -> None:
    """One file or shards, in every type: a second round writes the same bytes."""
    for source, name in ((None, "a"), ("a", "b")):
        if source is None:
            config, tensors = CONFIG, random_tensors(CONFIG)
        else:
            opened = Checkpoint.open(tmp_path / source)
            config, tensors = opened.config, {n: opened.tensor(n) for n in tensor_shapes(opened.config)}
        write_checkpoint(tmp_path / name, config, tensors, dtype=dtype, max_shard_bytes=max_shard_bytes)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert (len(first) > 2) == (max_shard_bytes < 10**9)


SHARDINGS = {"one file": 10**9, "two shards": 80_000, "many shards": 20_000}


@pytest.mark.parametrize("before", SHARDINGS.values(), ids=SHARDINGS)
@pytest.mark.parametrize("after", SHARDINGS.values(), ids=SHARDINGS)
def test_saving_over_a_checkpoint_replaces_it(tmp_path: Path, before: int, after: int) -> None:
    """However either is cut into files: the new numbers are read, and nothing of the old is left."""
    write_checkpoint(tmp_path / "both", CONFIG, random_tensors(CONFIG, 1), max_shard_bytes=before)
    for name in ("both", "alone"):
        write_checkpoint(tmp_path / name, CONFIG, random_tensors(CONFIG, 2), max_shard_bytes=after)
    assert Checkpoint.open(tmp_path / "both").sha256() == Checkpoint.open(tmp_path / "alone").sha256()
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("both", "alone")]
    assert names[0] == names[1]


def test_other_files_survive_a_save(folder: Path) -> None:
    """Only weights of the published names are replaced."""
    for name in ("tokenizer.json", "optimizer.safetensors"):
        (folder / name).write_text("mine")
    write_checkpoint(folder, CONFIG, random_tensors(CONFIG), max_shard_bytes=20_000)
    assert (folder / "tokenizer.json").read_text() == (folder / "optimizer.safetensors").read_text() == "mine"


def test_a_file_beside_an_index_that_does_not_list_it_is_refused(tmp_path: Path) -> None:
    """One of the two is stale, and nobody can say which."""
    write_checkpoint(tmp_path, CONFIG, random_tensors(CONFIG), max_shard_bytes=20_000)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"index\.json does not list model\.safetensors \(one of them is stale"):
        Checkpoint.open(tmp_path)


def test_the_files_are_ordinary_safetensors(folder: Path) -> None:
    """The safetensors library reads what we write, under the published names."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / "model.safetensors")
    heads = {name for name in tensors if not name.startswith("model.")}
    assert heads == {
        "risk_level_category_pre.weight", "risk_level_category_layernorm.weight", "risk_level_head.weight",
        "category_head.weight", "query_risk_level_category_pre.weight", "query_risk_level_category_layernorm.weight",
        "query_risk_level_head.weight", "query_category_head.weight",
    }  # fmt: skip
    assert np.array_equal(tensors["model.norm.weight"], Checkpoint.open(folder).tensor("model.norm.weight"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("category_head.weight"), "missing tensors: category_head.weight"),
        (lambda t: t.pop("model.layers.1.self_attn.q_norm.weight"), "missing tensors: model.layers.1"),
        (lambda t: t.update({"score.weight": np.zeros(3, np.float32)}), "unknown tensors: score.weight"),
        (lambda t: t.update({"lm_head.weight": np.zeros((50, 48), np.float32)}), "unknown tensors: lm_head.weight"),
        (
            lambda t: t.update({"risk_level_head.weight": np.zeros((4, 24), np.float32)}),
            "risk_level_head.weight is [4, 24]",
        ),
        (lambda t: t.clear(), "2 layers, the weights 0 tensors"),
        (lambda t: [t.pop(name) for name in list(t)[2:]], "and 25 more"),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(folder: Path, change: Any, says: str) -> None:
    """Nothing is guessed: the list must be exact."""
    from safetensors.numpy import save_file

    tensors = random_tensors(CONFIG)
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("category_head.weight"), "missing tensors in {file}: category_head.weight"),
        (lambda t: t.update({"score.weight": np.zeros(3, np.float32)}), "unknown tensors in {file}: score.weight"),
    ],
)
def test_missing_and_extra_tensors_of_a_shard_are_named(tmp_path: Path, change: Any, says: str) -> None:
    """With the file in which they should or should not be."""
    from safetensors.numpy import load_file, save_file

    write_checkpoint(tmp_path, CONFIG, random_tensors(CONFIG), dtype="f32", max_shard_bytes=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text("utf-8"))
    file = index["weight_map"]["category_head.weight"]
    tensors = load_file(tmp_path / file)
    change(tensors)
    save_file(tensors, tmp_path / file)
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(tmp_path)
    assert says.format(file=file) in str(caught.value)


def test_an_untied_language_model_head_is_ignored(folder: Path) -> None:
    """An untied backbone may carry its lm_head; the guard never reads it."""
    from safetensors.numpy import save_file

    edit(folder / "config.json", tie_word_embeddings=False)
    save_file(
        {**random_tensors(CONFIG), "lm_head.weight": np.zeros((50, 48), np.float32)}, folder / "model.safetensors"
    )
    assert Checkpoint.open(folder).config.tie_word_embeddings is False


@pytest.mark.parametrize("n_bytes", [0, 4, 100, 5000, -1])
def test_truncated_files_are_refused(folder: Path, n_bytes: int) -> None:
    """Cut anywhere: a clear error, never a traceback or half a tensor."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError):
        Checkpoint.open(folder)


def rewrite_header(path: Path, change: Any) -> None:
    """Change the header of a safetensors file and keep its data."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[end:])


def overlap(header: dict[str, Any]) -> None:
    header["model.norm.weight"]["data_offsets"] = header["model.layers.0.input_layernorm.weight"]["data_offsets"]


def leave_a_gap(header: dict[str, Any]) -> None:
    for entry in header.values():
        if "data_offsets" in entry:
            entry["data_offsets"] = [n + 4 for n in entry["data_offsets"]]


@pytest.mark.parametrize("change", [overlap, leave_a_gap])
def test_tensors_that_overlap_or_leave_gaps_are_refused(folder: Path, change: Any) -> None:
    """The bytes of one tensor are never read as another's."""
    rewrite_header(folder / "model.safetensors", change)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: model\..* starts at byte"):
        Checkpoint.open(folder)


def test_bytes_behind_the_last_tensor_are_refused(folder: Path) -> None:
    """As the safetensors library does."""
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"garbage")
    with pytest.raises(CheckpointError, match="its tensors end at byte"):
        Checkpoint.open(folder)


@given(junk=st.binary(max_size=200), header=st.text(max_size=60))
def test_junk_in_place_of_weights_is_refused(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, header: str
) -> None:
    """Arbitrary bytes and arbitrary headers neither crash nor hang."""
    folder = tmp_path_factory.mktemp("junk")
    write_checkpoint(folder, CONFIG, random_tensors(CONFIG))
    encoded = header.encode()
    for content in (junk, len(encoded).to_bytes(8, "little") + encoded + junk):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError):
            Checkpoint.open(folder)


@pytest.mark.parametrize("config", ["", "[]", "{", '"x"', "{}"])
def test_a_broken_config_is_refused(folder: Path, config: str) -> None:
    """Broken or foreign JSON is named as such."""
    (folder / "config.json").write_text(config, "utf-8")
    with pytest.raises(CheckpointError):
        Checkpoint.open(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """The hint says what was expected."""
    with pytest.raises(CheckpointError, match=r"config\.json.*Stream"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "other.bin", "missing.safetensors"])
def test_a_shard_index_cannot_leave_the_folder(folder: Path, name: str) -> None:
    """Shard names are plain file names of the folder."""
    index = {"weight_map": dict.fromkeys(tensor_shapes(CONFIG), name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(CheckpointError):
        Checkpoint.open(folder)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_bf16_is_rounded_to_nearest_even(values: list[float]) -> None:
    """The same bits as torch's own conversion."""
    import torch

    from guardrail.checkpoint import _encode

    array = np.array(values, np.float32)
    expected = torch.from_numpy(array.copy()).to(torch.bfloat16).view(torch.uint16).numpy()
    assert np.array_equal(_encode(array, "BF16"), expected)


def test_unknown_types_and_wrong_tensors_are_not_written(tmp_path: Path) -> None:
    """The writer refuses as the reader does."""
    with pytest.raises(CheckpointError, match="unknown dtype 'f8'"):
        write_checkpoint(tmp_path, CONFIG, random_tensors(CONFIG), dtype="f8")
    with pytest.raises(CheckpointError, match="missing tensors"):
        write_checkpoint(tmp_path, CONFIG, {})


@pytest.mark.parametrize(
    ("dtype", "fits", "overflows"), [("f16", 65519.9, 65520.0), ("bf16", 3.396e38, 3.3961776e38), ("f32", 3.4e38, None)]
)
def test_a_number_too_large_for_its_type_is_not_written_as_infinity(
    tmp_path: Path, dtype: str, fits: float, overflows: float | None
) -> None:
    """Refused by name, and the checkpoint that was there stays."""
    tensors = random_tensors(CONFIG)
    tensors["model.norm.weight"][3] = -fits
    write_checkpoint(tmp_path, CONFIG, tensors, dtype=dtype)
    assert np.isfinite(Checkpoint.open(tmp_path).tensor("model.norm.weight")).all()
    if overflows:
        tensors["model.norm.weight"][3] = -overflows
        with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds .*, too large for"):
            write_checkpoint(tmp_path, CONFIG, tensors, dtype=dtype)
        assert np.isfinite(Checkpoint.open(tmp_path).tensor("model.norm.weight")).all()
