"""Videos to feature stores: the work of ``paddlevideo extract``.

``schema`` names the keys of the YAML, ``settings`` reads it, ``videos`` the list, ``decode`` the
frames; detectors and networks make boxes and vectors; ``work`` keeps what is done, ``run`` goes
through a list, ``output`` writes the store; ``cluster`` is for Ray. Nothing is imported here, so
that OpenCV and onnxruntime load when they are used, and Paddle only in a worker, for
``paddle_networks``.
"""
