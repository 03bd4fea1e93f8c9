"""Hashtag pretraining: posts to vocabulary, shards, distributed training and export."""
