"""CLME: a reproducibility package for model editing of language models for code."""

__version__ = "0.1.0"
