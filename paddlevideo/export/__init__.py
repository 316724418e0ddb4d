"""A trained model as programs for inference: written by ``trace``, run by ``run``."""
