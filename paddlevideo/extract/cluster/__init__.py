"""Extraction on a Ray cluster: ``paddlevideo extract --ray ADDRESS``.

``workers`` is what ``run`` sees, on the machine of the command, which alone writes; ``link`` runs
in a process of its own, since Ray ends the process that talks to it when the cluster is gone;
``schedule`` shares out the videos there; ``slot`` is what Ray starts on each node.
"""
