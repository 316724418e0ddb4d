"""The checks of ``tools/test_gpu.py``."""
