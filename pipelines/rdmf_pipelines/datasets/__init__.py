"""Datasets by name and one's own manifests: published annotations to queries, names to video files."""

from rdmf_pipelines.datasets.load import load_dataset
from rdmf_pipelines.datasets.manifest import load_manifest
from rdmf_pipelines.datasets.plan import DatasetPlan

__all__ = ["DatasetPlan", "load_dataset", "load_manifest"]
