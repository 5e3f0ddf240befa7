"""What this host is: a capture of it, and what the capture means.

``probe_system.gather`` looks and does not judge; a capture is plain data. ``interpret.interpret``
is pure, so that any machine can be replayed. ``cache.load_or_gather`` is both, with a cache.
"""
