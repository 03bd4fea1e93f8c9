"""Hashtags to classes: canonical spelling, WordNet, counting, labels, the audit page."""

from pretrain.vocabulary.classes import read

__all__ = ["read"]
