"""Run Open WebUI with the settings of this install.

Started by systemd or supervisord with a configuration file as its argument. ``--revision`` changes
nothing: it makes a new configuration visible in the command line, so that whoever supervises sees
that a restart is due. The process has the variables of the configuration and no others, so that
no shell's or service manager's variable decides what Open WebUI does. Secrets, and settings that a
person may change, come from the environment file (``.env``), which only its owner reads.

Exit status: 0 after SIGTERM or SIGINT, 1 if Open WebUI cannot start, 2 if the configuration is
wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import secrets
import signal
import sys

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$")


def main() -> int:
    """Read the configuration, run Open WebUI until a signal says stop."""
    parser = argparse.ArgumentParser(description="dream-runner's native Open WebUI")
    parser.add_argument("config", help="path of webui.json")
    parser.add_argument("--revision", default="", help="digest of what this process runs")
    arguments = parser.parse_args()
    # Open WebUI's packages are in the environment; nothing beside this file is.
    sys.path[:1] = []
    os.umask(0o077)
    try:
        with open(arguments.config, encoding="utf-8") as handle:
            config = json.load(handle)
        variables = environment(config)
        os.makedirs(config["data"], exist_ok=True)
        os.chdir(config["data"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return complain(2, f"{arguments.config}: {type(error).__name__}: {error}")
    os.environ.clear()
    os.environ.update(variables)
    if config.get("embeddings"):
        os.environ.update(start_embeddings(config["embeddings"]))
    if config.get("speech"):
        os.environ.update(write_speech_model(config["speech"]))
    # Uvicorn raises the signal again when it has ended.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        import uvicorn
    except ImportError as error:
        return complain(1, f"Open WebUI cannot be loaded: {error}")
    uvicorn.run(
        "open_webui.main:app",
        host=config["host"],
        port=int(config["port"]),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    return 0


def load(program):
    """Return the module of a program beside this one."""
    name = os.path.splitext(os.path.basename(program))[0]
    found = importlib.util.spec_from_file_location(name, program)
    module = importlib.util.module_from_spec(found)
    # Byte code beside the program would outlive an uninstall.
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    found.loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def write_speech_model(settings) -> dict[str, str]:
    """Write the model that recognizes speech; return where Open WebUI finds it.

    Without the model everything else still works, so that a failure is only logged.
    """
    try:
        load(settings["program"]).write(settings["directory"])
    except (OSError, ValueError) as error:
        complain(0, f"speech is not recognized: {error}")
    return {"WHISPER_MODEL": settings["directory"]}


def start_embeddings(program) -> dict[str, str]:
    """Serve the vectors of documents in a thread; return where Open WebUI finds them."""
    module = load(program)
    server = module.Server(secrets.token_hex(32))
    server.start()
    return {
        "RAG_EMBEDDING_ENGINE": "openai",
        "RAG_EMBEDDING_MODEL": module.NAME,
        "RAG_OPENAI_API_BASE_URL": server.url,
        "RAG_OPENAI_API_KEY": server.key,
    }


def environment(config) -> dict[str, str]:
    """Return the variables of the process. Raises ValueError where a secret is missing."""
    found = {name: str(value) for name, value in config["environment"].items()}
    known = read_env(config["env_file"])
    for variable, key in config["from_env_file"].items():
        if known.get(key):
            found[variable] = known[key]
    missing = [name for name in config["required"] if not found.get(name)]
    if missing:
        keys = (config["from_env_file"][name] for name in missing)
        raise ValueError(f"{config['env_file']} holds no {', '.join(keys)}")
    return found


def read_env(path) -> dict[str, str]:
    """Return the assignments of an environment file; the last one of a key counts."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as handle:
        matches = map(_ASSIGNMENT.match, handle.read().split("\n"))
    return {match[1]: unquote(match[2].strip()) for match in matches if match}


def unquote(value: str) -> str:
    """Return a value without the quotes around it."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def leave(number, frame) -> None:
    """End without an error: whoever supervises has asked for it."""
    raise SystemExit(0)


def complain(status: int, text: str) -> int:
    """Say why on standard error and return ``status``."""
    print(f"open-webui-server: {text}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
