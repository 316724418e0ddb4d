"""Helpers independent of models and data: commands, child processes, text, numbers."""
