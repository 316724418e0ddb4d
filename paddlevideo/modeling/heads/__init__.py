"""Retrieval heads: one vector per caption and per clip."""
