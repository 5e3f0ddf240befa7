"""Parts of a host as it is now: who runs there, what listens, where a path lies."""

from __future__ import annotations

from typing import List, Optional

from ..document import TypedDict


class Session(TypedDict):
    """Who runs on the host (``dream_session``). Never cached."""

    uid: int
    gid: int
    user: str
    home: str
    is_root: bool
    #: root (not needed), passwordless, password (sudo would ask) or none.
    sudo: str
    #: Why none.
    sudo_why: str
    #: This user's systemd manager answers, or can be started by lingering.
    user_manager: bool
    #: Those of 127.0.0.1 and ::1 that the host has.
    loopbacks: List[str]


class Listener(TypedDict):
    """A program that listens on TCP; pid, name and exe are None where this user may not look."""

    port: int
    address: str
    uid: int
    pid: Optional[int]
    name: Optional[str]
    exe: Optional[str]
    #: A process of ours.
    own: bool


class Filesystem(TypedDict):
    """The filesystem of a path; None stands for what the kernel would not say."""

    path: str
    #: The path, or its closest parent that exists.
    existing: str
    mount: Optional[str]
    fstype: Optional[str]
    #: Two paths with the same one share the free bytes.
    device: Optional[int]
    #: What an ordinary user may still fill.
    free_bytes: Optional[int]
    total_bytes: Optional[int]
    read_only: bool
    noexec: bool
    is_directory: bool
    writable: bool
    #: The path is there and this user's, who may open it again.
    own: bool
