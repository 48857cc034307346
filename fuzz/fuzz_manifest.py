"""Exported folders: a damaged manifest, or files that are not those it names, is a CheckpointError."""

import atexit
import json
import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fuzz.shaping import BRIEF, check_message, damaged_bytes, from_bytes, json_bytes
from guardrail.errors import CheckpointError
from guardrail.exported import (
    FILES,
    KV_FILES,
    MANIFEST_FILE,
    KVCalibration,
    Manifest,
    is_export,
    read_manifest,
)
from guardrail.file_hash import hash_file

FOLDER = Path(tempfile.mkdtemp(prefix="guardrail-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
CONTENTS = {name: name.encode() for name in (*FILES, *KV_FILES)}
for _name, _data in CONTENTS.items():
    (FOLDER / _name).write_bytes(_data)

HASHES = {name: hash_file(FOLDER / name) for name in CONTENTS}
MANIFEST = Manifest(
    graph_version=1, name="tiny", precision="int8", block_size=32, source_sha256="0" * 64,
    files={name: HASHES[name] for name in FILES}, versions={"numpy": "2"},
    kv_int8=KVCalibration(
        texts_sha256="0" * 64, n_texts=1, n_tokens=2, headroom=1.5, files={name: HASHES[name] for name in KV_FILES}
    ),
)  # fmt: skip
TREE = json.loads(MANIFEST.model_dump_json())
ALSO = (*CONTENTS, *HASHES.values(), "guardrail-export", "../model.onnx", "fp32", "kv_int8", "files", {"x" * 5000: 1})


@BRIEF
@given(
    manifest=json_bytes(TREE, ALSO), name=st.none() | st.sampled_from(sorted(CONTENTS)), data=damaged_bytes(b"model")
)  # fmt: skip
def holds(manifest: bytes, name: str | None, data: bytes) -> None:
    """A folder is refused with a short CheckpointError, or is exactly what its manifest says."""
    (FOLDER / MANIFEST_FILE).write_bytes(manifest)
    if name:
        (FOLDER / name).write_bytes(data)
    try:
        found = read_manifest(FOLDER)
    except CheckpointError as error:
        check_message(error)
    else:
        assert is_export(FOLDER) or "format" not in found.model_fields_set
        assert all(hash_file(FOLDER / file) == expected for file, expected in found.files.items())
        precisions = ("fp32", "int8") if found.kv_int8 else ("fp32",)
        identities = {found.identity(precision) for precision in precisions}  # type: ignore[arg-type]  # both are
        assert len(identities) == len(precisions)
    finally:
        is_export(FOLDER)
        if name:
            (FOLDER / name).write_bytes(CONTENTS[name])


one_input = from_bytes(holds)
