"""A search page and a JSON API over the clips of a feature file.

One thread owns the model and answers one search at a time (``engine.py``); the event loop only
passes on what is ready (``app.py``). Needs the extra ``serve``.
"""
