"""Files of data sets on the Hugging Face hub, at a commit. The library keeps them in its own cache."""

from pathlib import Path

from guardrail.errors import MissingExtra
from guardrail.evaluation.datasets.hub import explained

try:
    from huggingface_hub import hf_hub_download
except ModuleNotFoundError as error:
    raise MissingExtra("huggingface-hub", "export") from error


def download(hub_id: str, name: str, revision: str) -> Path:
    """Return a file, from the cache if it is there.

    Raises:
        ConfigurationError: the set is gated, or the file cannot be had.
    """
    url, wanted = f"https://huggingface.co/datasets/{hub_id}", f"{name} of {hub_id} at {revision}"
    with explained(hub_id, url, wanted, "fetch it elsewhere, and name it in `paths`"):
        return Path(hf_hub_download(hub_id, name, repo_type="dataset", revision=revision))
