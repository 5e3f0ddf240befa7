"""A program under supervisord, and its configuration file."""

from __future__ import annotations

import os
import shlex
from configparser import Error as ConfigError
from typing import Optional, Sequence

from ..errors import UsageError
from .supervisord_state import START_DIRECTORY, configuration

#: The longest path of a Unix socket (108 bytes with the final zero).
_ADDRESS_LIMIT = 107
#: supervisord binds ``<path>.<pid>`` first; a pid has at most seven digits (PID_MAX_LIMIT).
_SOCKET_PATH_LIMIT = _ADDRESS_LIMIT - len(".4194304")


class Program:
    """One program and the daemon that keeps it running."""

    def __init__(self, install_dir: str, name: str, command: Sequence[str], log: str) -> None:
        self.name = name
        self.argv = list(command)
        self.log = log
        self.directory = install_dir
        self.base = os.path.join(install_dir, "supervisor")
        self.config = os.path.join(self.base, "supervisord.conf")
        self.socket_path = os.path.join(install_dir, "run", "supervisor.sock")
        names = ("supervisord.log", "supervisord.out", "supervisord.pid")
        #: Files that a running daemon writes; nobody else may write there.
        self.files = [log, *(os.path.join(self.base, name) for name in names)]

    def _address(self) -> str:
        """Return the socket in a form that works from the directory of the daemon."""
        if len(os.fsencode(self.socket_path)) <= _SOCKET_PATH_LIMIT:
            return self.socket_path
        return os.path.join(START_DIRECTORY, os.path.relpath(self.socket_path, self.directory))

    def text(self) -> str:
        """Return the text of the configuration file."""
        lines = [
            "; Written by dream-runner; changes are lost.",
            "[unix_http_server]",
            "file = " + _escaped(self._address()),
            "chmod = 0600",
            "",
            "[supervisord]",
            "nodaemon = true",
            "umask = 077",
            "logfile = " + _escaped(os.path.join(self.base, "supervisord.log")),
            "logfile_maxbytes = 1MB",
            "logfile_backups = 0",
            "pidfile = " + _escaped(os.path.join(self.base, "supervisord.pid")),
            "identifier = dream-runner",
            "directory = " + _escaped(self.directory),
            "strip_ansi = true",
            "",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
            "",
            "[supervisorctl]",
            "serverurl = unix://" + _escaped(self._address()),
            "",
            "[program:%s]" % self.name,
            "command = " + " ".join(_quoted(word) for word in self.argv),
            "directory = " + _escaped(self.directory),
            "autostart = true",
            "autorestart = true",
            "startsecs = 1",
            "startretries = 5",
            "stopsignal = TERM",
            "stopwaitsecs = 15",
            "stopasgroup = true",
            "killasgroup = true",
            "redirect_stderr = true",
            "stdout_logfile = " + _twice(self.log),
            "stdout_logfile_maxbytes = 10MB",
            "stdout_logfile_backups = 0",
        ]
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    """Escape ``value`` for supervisord, which expands ``%``."""
    if "\n" in value or "\r" in value:
        raise UsageError("a line break in %r" % value, code="BAD_PATH")
    return value.replace("%", "%%")


def _twice(value: str) -> str:
    """Escape the path of a program's log, which supervisord expands twice."""
    return _escaped(_escaped(value))


def _quoted(word: str) -> str:
    if word and all(char.isalnum() or char in "/._-+=:@," for char in word):
        return word
    return _escaped('"%s"' % word.replace("\\", "\\\\").replace('"', '\\"'))


def read_program(install_dir: str, name: str) -> Optional[Program]:
    """Return the program in the configuration file below ``install_dir``, or None."""
    found = Program(install_dir, name, [], "")
    try:
        section = dict(configuration(found.config).items("program:" + name))
        command = shlex.split(section["command"].replace("%%", "%"))
        log = section["stdout_logfile"].replace("%%", "%").replace("%%", "%")
    except (ConfigError, KeyError, ValueError):
        return None
    return Program(install_dir, name, command, log)
