"""The facts of a host: capture it, and interpret the capture.

``probe_system.gather`` captures the host without interpreting it; a capture is plain data.
``interpret.interpret`` is pure, so that any machine can be replayed. ``cache.load_or_gather`` does
both and keeps a cache.
"""
