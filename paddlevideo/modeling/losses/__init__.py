"""losses of models."""
