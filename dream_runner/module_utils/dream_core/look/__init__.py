"""One look at a host that collects everything a run decides from."""
