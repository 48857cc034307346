"""Files of the hub: at a commit, and a failure says what to do."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError

from guardrail.abilities import hub
from guardrail.abilities.fields import read
from guardrail.abilities.gpqa import HUB_ID, choice_of
from guardrail.abilities.settings import GpqaSettings
from guardrail.errors import ConfigurationError
from tests.abilities.made import GPQA, write_lines

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_files_come_at_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the hub is the data set, the file and the commit, and the result names them."""
    asked: list[tuple[Any, ...]] = []

    def download(*given: str, **options: str) -> str:
        asked.append((*given, options))
        return str(write_lines(tmp_path / "gpqa_main.jsonl", GPQA))

    monkeypatch.setattr(hub, "hf_hub_download", download)
    found = read(GpqaSettings(revision=COMMIT), HUB_ID, ("gpqa_main.csv",), lambda v, i: choice_of(v, i, 1))
    assert asked == [(HUB_ID, "gpqa_main.csv", {"repo_type": "dataset", "revision": COMMIT})]
    assert found.info["hub"] == f"{HUB_ID}@{COMMIT}"
    assert [one.id for one in found.questions] == ["g0", "g1"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GatedRepoError("x", response=httpx.Response(403, request=httpx.Request("GET", "http://x"))), "HF_TOKEN"),
        (LocalEntryNotFoundError("x"), "paths"),
    ],
)
def test_a_failure_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    """A gated set needs an account, and one that cannot be had a local file."""

    def download(*_: str, **__: str) -> str:
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(ConfigurationError, match=said):
        hub.download(HUB_ID, "gpqa_main.csv", COMMIT)
