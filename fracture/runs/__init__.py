"""Many films in one run: which files are films, where results go, and how a run that was cut short goes on.

``run`` serves ``fracture predict`` and ``fracture hip predict`` alike; what they differ in is a :class:`~run.Task`.
"""
