"""Clips: one :class:`Clip`, whatever format it is read from.

``clip`` defines a clip and ``check`` its validity. ``source`` is the interface of all formats:
``rows`` and ``records`` (PaddleVideo's ``.npy`` and LMDB), ``folder``
(a file for each clip) and :class:`paddlevideo.loader.store.FeatureStore`. ``opening`` picks one by
the content of a path. ``sample`` and ``gallery`` convert clips for training and for a test.
"""
