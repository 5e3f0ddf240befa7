"""Addresses of this host: what is asked, how a URL spells it, what is in whose way."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dream_runner.module_utils.dream_core.checks import requirements
from dream_runner.module_utils.dream_core.system import ip_addresses

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("2001:db8::7", "http://[2001:db8::7]:11434"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:11434"),
        ("fe80::1%25eth0", "http://[fe80::1%25eth0]:11434"),
    ],
)
def test_a_url_can_be_read_again(host: str, url: str) -> None:
    assert ip_addresses.base_url(host, 11434) == url
    assert urlsplit(url).port == 11434


@pytest.mark.parametrize(
    ("address", "loopbacks", "asked"),
    [
        ("0.0.0.0", ["127.0.0.1", "::1"], "127.0.0.1"),
        ("0.0.0.0", ["::1"], "127.0.0.1"),
        ("::", ["127.0.0.1", "::1"], "::1"),
        ("::", ["127.0.0.1"], "127.0.0.1"),
        ("::", [], "::1"),
        ("::1", ["127.0.0.1"], "::1"),
        ("192.168.1.5", ["127.0.0.1"], "192.168.1.5"),
    ],
)
def test_a_wildcard_is_asked_at_a_loopback_of_its_family(
    address: str, loopbacks: list[str], asked: str
) -> None:
    assert ip_addresses.reachable(address, loopbacks) == asked


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "10.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("0.0.0.0", "::", True),
        ("::", "127.0.0.1", True),
        ("::", "::1", True),
        ("::1", "127.0.0.1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:10.0.0.1", "0.0.0.0", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("2001:DB8::1", "2001:db8:0::1", True),
    ],
)
def test_who_is_in_whose_way(one: str, other: str, expected: bool) -> None:
    assert ip_addresses.collide(one, other) is expected
    assert ip_addresses.collide(other, one) is expected


def test_the_kernel_agrees_on_who_is_in_whose_way() -> None:
    places = [
        address for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0") if ip_addresses.has(address)
    ]
    places += [address for address in ("::1", "::") if "::1" in ip_addresses.loopbacks()]
    for one in places:
        for other in places:
            with (
                socket.socket(ip_addresses.family(one)) as first,
                socket.socket(ip_addresses.family(other)) as second,
            ):
                first.bind((one, 0))
                first.listen()
                try:
                    second.bind((other, first.getsockname()[1]))
                    taken = False
                except OSError:
                    taken = True
                assert ip_addresses.collide(one, other) is taken, (one, other)


def test_this_host_has_what_the_kernel_lists() -> None:
    assert ip_addresses.has("127.0.0.1")
    assert not ip_addresses.has("192.0.2.77")
    assert not ip_addresses.has("2001:db8::77")
    assert not ip_addresses.has("fe80::1%nowhere0")
    for address in ip_addresses.addresses():
        assert ip_addresses.has(address), address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("::1234", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_who_reaches_it(address: str, expected: bool) -> None:
    assert ip_addresses.is_loopback(address) is expected


def test_a_requirement_is_what_was_seen() -> None:
    seen = requirements.look_requirements([], [1], bind_address="192.0.2.77")
    assert seen["has_address"] is False
    assert "127.0.0.1" in seen["addresses"]


@pytest.mark.parametrize(
    ("bindable", "address", "expected"),
    [
        (["127.0.0.1", "0.0.0.0"], "::", False),
        (["127.0.0.1", "0.0.0.0", "::"], "::", True),
        (["::1", "::", "0.0.0.0"], "0.0.0.0", False),
        (["::1", "::"], "::", True),
        (["::1"], "::1", True),
        ([], "127.0.0.1", False),
    ],
)
def test_a_wildcard_needs_its_family_and_a_loopback(
    bindable: list[str], address: str, expected: bool
) -> None:
    """A kernel without IPv6 has no ``::``; a network without 127.0.0.1 answers nowhere there."""
    assert ip_addresses.has(address, bindable.__contains__) is expected


#: Addresses that stand in containers, where there is one network, or are shown to a person.
_GLUED = re.compile(
    r"http://\{\{|http://%s:%|http://\{[a-z_.]*\}:\{|f\"http://\{|in \['0\.0\.0\.0'"
)


def test_nobody_else_glues_host_and_port() -> None:
    """A URL that is put together elsewhere forgets the brackets of IPv6 (FC2-19)."""
    places = [
        path
        for folder in ("roles", "playbooks", "library", "dream_runner")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yml", ".j2") and path.name != "services.yml"
    ]
    assert len(places) > 150
    glued = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in places
        for line in path.read_text(encoding="utf-8").splitlines()
        if _GLUED.search(line) and path.name != "ip_addresses.py"
    ]
    assert glued == []
