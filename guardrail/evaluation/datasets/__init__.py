"""Loaders of the field's public benchmarks. No data is part of the package: files as published, or the hub."""

from guardrail.evaluation.datasets.catalogue import DATASETS
from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.listing import table
from guardrail.evaluation.datasets.loading import find_dataset, load_dataset
from guardrail.evaluation.datasets.qwen3guardtest import add_onset

__all__ = ["DATASETS", "Dataset", "add_onset", "find_dataset", "load_dataset", "table"]
