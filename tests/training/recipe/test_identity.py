"""What a model is known by: its weights or its code, and not where or how it is asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import ConfigurationError
from guardrail.training.recipe import identity
from guardrail.training.recipe.identity import identity_of
from guardrail.training.recipe.settings import ModelSettings

ENDPOINT = ModelSettings("endpoint", "qwen", base_urls=("http://a/v1",))
ELSEWHERE: dict[str, Any] = {
    "base_urls": ("http://b/v1", "http://c/v1"), "api_key_env": "KEY", "concurrency": 2, "requests_per_minute": 9,
    "timeout_s": 1, "retries": 0, "has_schemas": False, "input_price": 1, "output_price": 2, "gpu_tokens_per_s": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_where_a_model_runs_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    """Nor how patiently it is asked, nor what it costs: its answers stay its own."""
    assert identity_of(replace(ENDPOINT, **{name: ELSEWHERE[name]}), tmp_path) == identity_of(ENDPOINT, tmp_path)


@pytest.mark.parametrize(
    "changes", [{"model": "qwen2"}, {"revision": "b"}, {"kind": "checkpoint"}, {"extra_body": {"top_k": 20}}]
)
def test_other_weights_are_another_model(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Under another name, of another revision, or run another way."""
    assert identity_of(replace(ENDPOINT, **changes), tmp_path) != identity_of(ENDPOINT, tmp_path)


@pytest.mark.parametrize("whole_bytes", [2**26, 10])
@pytest.mark.parametrize("place", [0, 4000, 8191])
def test_a_folder_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int, place: int
) -> None:
    """Large or small, wherever they differ, and not by its name."""
    monkeypatch.setattr(identity, "_WHOLE_BYTES", whole_bytes)
    monkeypatch.setattr(identity, "_BLOCK_BYTES", 128)
    found = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        weights = bytearray(8192)
        weights[place] = name == "c"
        (tmp_path / name / "model.safetensors").write_bytes(weights)
        found.append(identity_of(ModelSettings("checkpoint", str(tmp_path / name)), tmp_path))
    assert found[0] == found[1] != found[2]


def test_a_function_is_known_by_its_file_and_name(tmp_path: Path) -> None:
    """Wherever the recipe lies."""
    found = []
    for folder, code in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.py").write_text(code)
        found.append(identity_of(ModelSettings("function", function="f.py:x"), tmp_path / folder))
    other = identity_of(ModelSettings("function", function="f.py:y"), tmp_path / "a")
    assert found[0] == found[1]
    assert len({*found, other}) == 3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (ModelSettings("endpoint"), "needs `model`"),
        (ModelSettings("function", function="f.py"), "file.py:name"),
        (ModelSettings("function", function="f.py:1x"), "file.py:name"),
        (ModelSettings("function", function="gone.py:x"), "no gone.py beside the recipe"),
        (ModelSettings("guard", "empty"), "no model in empty"),
        (ModelSettings("guard", "default", extra_body={"top_k": 20}), "kind guard has no extra_body"),
    ],
)
def test_settings_that_name_no_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: ModelSettings, match: str
) -> None:
    """With what is missing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=match):
        identity_of(settings, tmp_path)


def test_the_embedded_guard_is_known_by_its_weights(tmp_path: Path) -> None:
    """And not by the word that names it."""
    assert "default" not in identity_of(ModelSettings("guard", "default"), tmp_path)
