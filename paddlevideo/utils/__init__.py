"""Helpers that know nothing of models and data: commands, child processes, text, numbers."""
