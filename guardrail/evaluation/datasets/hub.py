"""Published files from the Hugging Face hub, at the pinned commit. The library keeps them in its own cache."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with explained(dataset.hub_id, dataset.url, f"{dataset.name}: {dataset.hub_id}", where_from(dataset)):
        return _snapshot(dataset, local_files_only=False)


@contextmanager
def explained(hub_id: str, url: str, wanted: str, elsewhere: str) -> Iterator[None]:
    """Say what to do where the hub gives nothing.

    Args:
        hub_id: of the data set.
        url: of the page on which its conditions are accepted.
        wanted: what was asked for.
        elsewhere: what to do instead.

    Raises:
        ConfigurationError: the set is gated, or what is wanted cannot be had.
    """
    try:
        yield
    except GatedRepoError as error:
        hint = f"accept its conditions at {url}, then set HF_TOKEN to a token of that account"
        raise ConfigurationError(f"{hub_id} is gated", hint=hint) from error
    except Exception as error:  # the hub's edge: with the HTTP library its exceptions change from version to version
        reason = f"is not in the hub's cache and cannot be downloaded: {type(error).__name__}"
        raise ConfigurationError(f"{wanted} {reason}", hint=elsewhere) from error


def _snapshot(dataset: Dataset, *, local_files_only: bool) -> Path:
    patterns = [pattern for pattern in (dataset.files, dataset.companion) if pattern]
    return Path(
        snapshot_download(
            dataset.hub_id, repo_type="dataset", revision=dataset.revision, allow_patterns=patterns,
            local_files_only=local_files_only,
        )
    )  # fmt: skip
