"""Frameworks: models that compute losses for training and predictions for tests."""
