"""Images the tests need, made here from Debian's packages: nodes, a real engine, a stand-in."""
