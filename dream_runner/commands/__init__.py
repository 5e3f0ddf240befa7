"""One module a verb: ``run()`` does it, ``as_text()`` and ``as_json()`` say what came of it."""
