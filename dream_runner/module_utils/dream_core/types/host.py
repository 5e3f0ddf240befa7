"""The current state of a host: account, listeners, filesystems."""

from __future__ import annotations

from typing import List, Optional

from ..document import TypedDict


class Session(TypedDict):
    """The account on the host (``dream_session``). Never cached."""

    uid: int
    gid: int
    user: str
    home: str
    is_root: bool
    #: root (not needed), passwordless, password (sudo would ask) or none.
    sudo: str
    #: The reason for none.
    sudo_why: str
    #: Whether this user's systemd manager answers or can be started by lingering.
    user_manager: bool
    #: The loopback addresses (127.0.0.1, ::1) of the host.
    loopbacks: List[str]


class Listener(TypedDict):
    """A TCP listener; pid, name and exe are None if this user may not read them."""

    port: int
    address: str
    uid: int
    pid: Optional[int]
    name: Optional[str]
    exe: Optional[str]
    #: Whether it is our process.
    own: bool


class Filesystem(TypedDict):
    """The filesystem of a path; unknown values are None."""

    path: str
    #: The path, or its closest parent that exists.
    existing: str
    mount: Optional[str]
    fstype: Optional[str]
    #: Two paths with the same device share the free bytes.
    device: Optional[int]
    #: Space for ordinary users.
    free_bytes: Optional[int]
    total_bytes: Optional[int]
    read_only: bool
    noexec: bool
    is_directory: bool
    writable: bool
    #: Whether the path exists and belongs to this user, who can restore its mode.
    own: bool
