"""Features without weights: what stands out in a frame, what it looks like, how it moves.

``regions`` boxes what differs from its surroundings, ``appearance`` describes boxes, ``tracks``
follows things through a window of frames and ``motion`` describes how they move. Everything is
deterministic, and knows no kinds of things.
"""
