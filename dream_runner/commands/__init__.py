"""One module for each command: ``run()`` does it, ``as_text()``/``as_json()`` show the result."""
