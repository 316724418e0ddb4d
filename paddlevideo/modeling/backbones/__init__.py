"""backbones of models."""
