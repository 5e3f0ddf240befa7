"""Serve one GGUF model over HTTP with llama.cpp's own server (package xllamacpp).

Started by systemd or supervisord with a configuration file as its argument.
``--revision`` changes nothing: it makes a new configuration visible in the
command line, so that whoever supervises sees that a restart is due.

Exit status: 0 after SIGTERM or SIGINT, 1 when the model or the port cannot be
used, 2 for a configuration that makes no sense.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys


def main() -> int:
    """Read the configuration, serve until a signal says stop."""
    parser = argparse.ArgumentParser(description="dream-runner's native inference engine")
    parser.add_argument("config", help="path of engine.json")
    parser.add_argument("--revision", default="", help="digest of what this process runs")
    arguments = parser.parse_args()
    # Blocked before any thread exists, so that sigwait below is the only one to see them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with open(arguments.config, encoding="utf-8") as handle:
            config = json.load(handle)
        parameters = parameters_of(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return complain(2, "%s: %s" % (arguments.config, error))
    if not os.access(config["model"], os.R_OK):
        return complain(1, "the model %s cannot be read" % config["model"])
    return serve(parameters)


def parameters_of(config):
    """Return llama.cpp's parameters for a configuration."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = config["model"]
    parameters.model_alias = {config["alias"]}
    parameters.hostnames = [config["host"]]
    parameters.port = int(config["port"])
    parameters.n_ctx = int(config["context_tokens"])
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = int(config["threads"])
    parameters.endpoint_metrics = True
    parameters.use_jinja = True
    return parameters


def serve(parameters):
    """Serve until SIGTERM or SIGINT."""
    import xllamacpp

    try:
        server = xllamacpp.Server(parameters)
    except Exception as error:
        return complain(1, "the model was not loaded: %s" % error)
    print("serving at %s" % server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    return 0


def complain(status, text):
    """Say why on standard error and return ``status``."""
    print("dream-engine: %s" % text, file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
