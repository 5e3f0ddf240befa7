"""The tests of scenarios look at nodes; molecule runs them, not the session that runs molecule."""

collect_ignore_glob = ["*/tests/*"]
