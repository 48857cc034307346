"""The benchmarks by name, prompts first."""

from collections.abc import Mapping
from types import MappingProxyType

from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.prompt_sets import PROMPT_SETS
from guardrail.evaluation.datasets.response_sets import RESPONSE_SETS

DATASETS: Mapping[str, Dataset] = MappingProxyType({each.name: each for each in (*PROMPT_SETS, *RESPONSE_SETS)})
"""What `load_dataset` knows."""
