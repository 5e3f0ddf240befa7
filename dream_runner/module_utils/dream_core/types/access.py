"""How people and programs reach the AI."""

from __future__ import annotations

from typing import List, Optional

from ..document import TypedDict
from .health import FeatureTests


class Account(TypedDict):
    """The first account of the chat: its name, and the key of its password in a file."""

    name: str
    key: str
    file: str


class Key(TypedDict):
    """The engine's key: its name, and the file that has it."""

    name: str
    file: str


class Reach(TypedDict):
    """A published port, described for people."""

    what: str
    port: int
    address: str
    guard: str


class Access(TypedDict, total=False):
    """How people and programs reach the AI."""

    chat: str
    #: Empty where it is the chat, and in the full profile.
    engine_page: str
    api: str
    model: str
    bind_address: str
    #: Addresses of the chat for other computers.
    lan: List[str]
    #: account, key or none.
    guard: str
    reach: List[Reach]
    account: Optional[Account]
    features: FeatureTests
    key: Optional[Key]
    port_notes: List[str]
