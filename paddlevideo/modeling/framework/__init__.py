"""framework of models."""
