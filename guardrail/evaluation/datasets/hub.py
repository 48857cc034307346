"""Published files from the Hugging Face hub, at the pinned commit. The library keeps them in its own cache."""

from contextlib import suppress
from pathlib import Path

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.files import has_files, where_from

try:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
except ModuleNotFoundError as error:
    raise MissingExtra("huggingface-hub", "export") from error


def download(dataset: Dataset) -> Path:
    """Return a folder that holds the files: the hub's cache without asking the network, or what is downloaded now.

    Raises:
        ConfigurationError: the set is not on the hub, is gated, or the hub cannot be reached.
    """
    if not dataset.hub_id:
        raise ConfigurationError(f"{dataset.name} is not on the hub", hint=where_from(dataset))
    with suppress(LocalEntryNotFoundError):
        cached = _snapshot(dataset, local_files_only=True)
        if has_files(dataset, cached):
            return cached
    try:
        return _snapshot(dataset, local_files_only=False)
    except GatedRepoError as error:
        raise ConfigurationError(
            f"{dataset.hub_id} is gated",
            hint=f"accept its conditions at {dataset.url}, then set HF_TOKEN to a token of that account",
        ) from error
    except Exception as error:  # the hub's edge: with the HTTP library its exceptions change from version to version
        raise ConfigurationError(
            f"{dataset.name}: {dataset.hub_id} is not in the hub's cache and cannot be downloaded:"
            f" {type(error).__name__}",
            hint=where_from(dataset),
        ) from error


def _snapshot(dataset: Dataset, *, local_files_only: bool) -> Path:
    patterns = [pattern for pattern in (dataset.files, dataset.companion) if pattern]
    return Path(
        snapshot_download(
            dataset.hub_id, repo_type="dataset", revision=dataset.revision, allow_patterns=patterns,
            local_files_only=local_files_only,
        )
    )  # fmt: skip
