"""Networks that Paddle runs: the only part of extraction that loads it.

Imported in the workers' processes, where the settings name such a network.
"""
