"""Benchmarks against PaddleVideo 2.3.1, each side in a process of its own."""
