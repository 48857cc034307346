"""Files of data sets on the Hugging Face hub, at a commit. The library keeps them in its own cache."""

from pathlib import Path

from guardrail.errors import ConfigurationError, MissingExtra

try:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError
except ModuleNotFoundError as error:
    raise MissingExtra("huggingface-hub", "export") from error


def download(hub_id: str, name: str, revision: str) -> Path:
    """Return a file, from the cache if it is there.

    Raises:
        ConfigurationError: the set is gated, or the file cannot be had.
    """
    try:
        return Path(hf_hub_download(hub_id, name, repo_type="dataset", revision=revision))
    except GatedRepoError as error:
        raise ConfigurationError(
            f"{hub_id} is gated",
            hint=f"accept its conditions at https://huggingface.co/datasets/{hub_id}, then set HF_TOKEN",
        ) from error
    except Exception as error:  # the hub's edge: with the HTTP library its exceptions change from version to version
        raise ConfigurationError(
            f"{name} of {hub_id} at {revision} is not in the hub's cache and cannot be downloaded:"
            f" {type(error).__name__}",
            hint="fetch it elsewhere, and name it in `paths`",
        ) from error
