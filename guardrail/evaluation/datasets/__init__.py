"""Loaders of the field's public benchmarks. No data is part of the package: files as published, or the hub."""

from guardrail.evaluation.datasets.catalogue import DATASETS
from guardrail.evaluation.datasets.dataset import Dataset
from guardrail.evaluation.datasets.listing import table
from guardrail.evaluation.datasets.loading import load_dataset

__all__ = ["DATASETS", "Dataset", "load_dataset", "table"]
