"""Hashtags to classes: canonical spelling, WordNet, counting, labels, the audit page."""
