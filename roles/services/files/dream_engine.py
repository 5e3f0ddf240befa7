"""Serve one GGUF model over HTTP with llama.cpp's own server (package xllamacpp).

Started by systemd or supervisord with a configuration file as its argument. ``--revision`` has no
effect on the server: it makes a new configuration visible in the command line, so that the
supervisor notices that a restart is due.

Exit status: 0 after SIGTERM or SIGINT, 1 if the model or the port cannot be used, 2 for an invalid
configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import sys
import threading

# Read by the OpenMP runtime when the engine's library is loaded. By default its threads spin while
# they wait for each other; on a machine that is busy with anything else that makes answers more
# than ten times slower. A user's own value is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

STOP = frozenset((signal.SIGTERM, signal.SIGINT))
#: Seconds to wait for answers in progress; the supervisor's own timeout is longer.
CLOSE_SECONDS = 10.0
#: The key that clients send as a bearer token, if the configuration requires one.
KEY_NAME = "ENGINE_API_KEY"


def main() -> int:
    """Read the configuration and serve until a signal."""
    parser = argparse.ArgumentParser(description="dream-runner's native inference engine")
    parser.add_argument("config", help="path of engine.json")
    parser.add_argument("--revision", default="", help="digest of the files of this process")
    arguments = parser.parse_args()
    # Block the signals before any thread exists, so that no server thread receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        with open(arguments.config, encoding="utf-8") as handle:
            config = json.load(handle)
        parameters = parameters_of(config)
    except ImportError as error:
        return complain(1, f"the engine cannot be loaded: {error}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return complain(2, f"{arguments.config}: {type(error).__name__}: {error}")
    if not os.access(config["model"], os.R_OK):
        return complain(1, f"the model {config['model']} cannot be read")
    return serve(parameters, config)


def parameters_of(config):
    """Convert a configuration to llama.cpp's parameters."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = config["model"]
    parameters.model_alias = {config["alias"]}
    parameters.hostnames = [config["host"]]
    parameters.port = int(config["port"])
    parameters.n_ctx = int(config["context_tokens"])
    parameters.n_parallel = int(config.get("parallel", 1))
    if int(config["threads"]) > 0:
        parameters.cpuparams.n_threads = int(config["threads"])
    sampling = config.get("sampling") or {}
    if "temperature" in sampling:
        parameters.sampling.temp = float(sampling["temperature"])
    if "top_p" in sampling:
        parameters.sampling.top_p = float(sampling["top_p"])
    if config.get("chat_template"):
        parameters.chat_template = str(config["chat_template"])
    parameters.endpoint_metrics = True
    parameters.use_jinja = True
    # Only warnings and errors: otherwise the server logs a dozen lines for every request.
    parameters.verbosity = int(config.get("verbosity", 2))
    # Without this, any web page in a browser on this host could read answers.
    parameters.cors_origins = config.get("cors_origin", "http://localhost")
    parameters.cors_origins_explicit = True
    if config.get("api_key_env"):
        parameters.api_keys = [key_of(config["api_key_env"])]
    return parameters


def key_of(path) -> str:
    """Return the API key from an environment file. Raises ValueError if there is none."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as handle:
        for line in reversed(handle.read().split("\n")):
            name, _, value = line.strip().removeprefix("export ").partition("=")
            if name.strip() == KEY_NAME and value.strip().strip("'\""):
                return value.strip().strip("'\"")
    # Without a key the engine would be open to everybody.
    raise ValueError(f"{path} has no {KEY_NAME}")


def serve(parameters, config) -> int:
    """Serve until SIGTERM or SIGINT, which also work while the model loads for minutes."""
    outcome: queue.Queue = queue.Queue()
    threading.Thread(target=load, args=(parameters, outcome), daemon=True).start()
    server = None
    while server is None:
        if signal.sigtimedwait(STOP, 0.02):
            leave(0)
        if not outcome.empty():
            server = outcome.get()
            if isinstance(server, BaseException):
                host = config["host"]
                host = f"[{host}]" if ":" in host else host
                where = f"{host}:{config['port']}"
                return complain(1, f"{config['model']} is not served at {where}: {server}")
    say(f"serving {config['model']} at {server.listening_address}", sys.stdout)
    signal.sigwait(STOP)
    # An endless stream must not prevent the process from stopping.
    watchdog = threading.Timer(CLOSE_SECONDS, leave, (0,))
    watchdog.daemon = True
    watchdog.start()
    del server
    return 0


def load(parameters, outcome) -> None:
    """Put the server, or the error, into ``outcome``."""
    import xllamacpp

    try:
        outcome.put(xllamacpp.Server(parameters))
    except BaseException as error:
        outcome.put(error)


def leave(status: int) -> None:
    """Exit immediately, because the loading of a model cannot be interrupted in another way."""
    os._exit(status)


def complain(status: int, text: str) -> int:
    """Print the reason to standard error and return ``status``."""
    say(text, sys.stderr)
    return status


def say(text: str, stream) -> None:
    """Write a line to the log; a full disk does not stop the server."""
    with contextlib.suppress(OSError, ValueError):
        print(f"dream-engine: {text}", file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main())
