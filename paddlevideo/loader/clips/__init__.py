"""A clip's way in: one :class:`Clip`, read from whatever holds it.

``clip`` says what a clip is and ``check`` what must be true of it. ``source`` is the interface of
all that clips are read from: ``rows`` and ``records`` (PaddleVideo's ``.npy`` and LMDB), ``folder``
(a file for each clip) and :class:`paddlevideo.loader.store.FeatureStore`. ``opening`` picks one by
a path's content. ``sample`` and ``gallery`` hand clips on, to training and to a test.
"""
