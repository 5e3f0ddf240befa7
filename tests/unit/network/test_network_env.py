"""Every reader of the network's variables is asked for every variable."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fixtures.fetching import HASTY
from fixtures.package_index import MEMBER, NAME, PROJECT, VERSION, PackageIndex, make_wheel
from fixtures.villain import make_certificate

from dream_runner.catalog import image_lock
from dream_runner.commands import doctor, lock
from dream_runner.commands import fetch as fetch_command
from dream_runner.diagnose.finding import Place
from dream_runner.machine import target
from dream_runner.module_utils.dream_core.errors import DreamError, UsageError
from dream_runner.module_utils.dream_core.fetch.fetcher import fetch
from dream_runner.module_utils.dream_core.fetch.request import FetchRequest, Network
from dream_runner.module_utils.dream_core.network import network_env, pip_config
from dream_runner.module_utils.dream_core.packages import repository
from dream_runner.plugins.lookup.dream_network import LookupModule

#: A host that nobody has (TEST-NET-1): only a proxy can answer for it.
FAR = "192.0.2.1"
WHEEL = make_wheel(b"x" * 1000)
BARE = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
CA_NAMES = network_env.CA_FILES


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Recorder:
    """A proxy that writes down what it is asked, and knows nothing."""

    def __enter__(self) -> Recorder:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                asked.append(f"{self.command} {self.path}")
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_CONNECT = do_GET

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def pip_download(environment: Mapping[str, str], url: str, folder: Path) -> str:
    words = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    words += ["--disable-pip-version-check", "--dest", str(folder), "--index-url", url]
    words += ["--trusted-host", FAR, "--timeout", "5", f"{PROJECT}=={VERSION}"]
    known = network_env.of_pip(environment)
    done = subprocess.run(words, env=known, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def by_fetcher(environment: Mapping[str, str], url: str, folder: Path) -> str:
    network = Network.from_environment(environment)
    request = FetchRequest(str(folder / "f"), "0" * 64, (url,), patience=HASTY, network=network)
    with pytest.raises(DreamError) as caught:
        fetch(request)
    return caught.value.code


def by_index(environment: Mapping[str, str], url: str, folder: Path) -> str:
    known = {**environment, "PIP_INDEX_URL": url, "PIP_TRUSTED_HOST": FAR}
    return by_fetcher(known, f"wheel:{PROJECT}=={VERSION}#{MEMBER}", folder)


def by_pip(environment: Mapping[str, str], url: str, folder: Path) -> str:
    said = pip_download(environment, url, folder).lower()
    return "TLS_CERTIFICATE" if "certificate" in said else ""


def by_key_reader(environment: Mapping[str, str], url: str, folder: Path) -> str:
    try:
        repository.download(url, environment)
    except DreamError as error:
        return error.code
    return ""


def by_registry_client(environment: Mapping[str, str], url: str, folder: Path) -> str:
    import requests

    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name not in BARE:
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        with image_lock.session() as session:
            try:
                session.get(url, timeout=5)
            except requests.RequestException as error:
                return "TLS_CERTIFICATE" if "CERTIFICATE" in str(error) else str(error)
    return ""


READERS: dict[str, Callable[[Mapping[str, str], str, Path], str]] = {
    "fetcher": by_fetcher,
    "index": by_index,
    "pip": by_pip,
    "signing keys": by_key_reader,
    "registries": by_registry_client,
}


@pytest.mark.parametrize("name", ["", *CA_NAMES])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_trusts_every_certificate_variable(
    reader: str, name: str, certificate: Path, tmp_path: Path
) -> None:
    """A server whose certificate only that file knows is read, and without it refused."""
    with PackageIndex({NAME: WHEEL}, certificate=certificate) as index:
        environment = {**BARE, **({name: str(certificate)} if name else {})}
        url = index.url if reader in ("index", "pip") else f"{index.origin}/files/{NAME}"
        said = READERS[reader](environment, url, tmp_path)
        if name:
            assert said != "TLS_CERTIFICATE", said
            assert index.asked("/files/" if reader != "index" else "/simple/")
        else:
            assert said == "TLS_CERTIFICATE"
            assert index.requests == []


PROXY_NAMES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@pytest.mark.parametrize("name", PROXY_NAMES)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_asks_every_proxy_variable(reader: str, name: str, tmp_path: Path) -> None:
    with Recorder() as proxy:
        READERS[reader]({**BARE, name: proxy.url}, f"http://{FAR}/simple", tmp_path)
    assert proxy.asked
    assert all(line.startswith(f"GET http://{FAR}/simple") for line in proxy.asked)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("reader", READERS)
def test_a_proxy_is_asked_for_a_tunnel(reader: str, name: str, tmp_path: Path) -> None:
    with Recorder() as proxy:
        READERS[reader]({**BARE, name: proxy.url}, f"https://{FAR}/simple", tmp_path)
    assert {*proxy.asked} == {f"CONNECT {FAR}:443"}


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_knows_who_needs_no_proxy(reader: str, name: str, tmp_path: Path) -> None:
    with Recorder() as proxy, PackageIndex({NAME: WHEEL}) as index:
        environment = {**BARE, "ALL_PROXY": proxy.url, name: "127.0.0.1,localhost"}
        url = index.url if reader in ("index", "pip") else f"{index.origin}/files/{NAME}"
        READERS[reader](environment, url, tmp_path)
        assert index.requests
    assert proxy.asked == []


def test_package_managers_get_the_names_that_they_know(certificate: Path) -> None:
    for name in CA_NAMES:
        found = network_env.of_programs({name: str(certificate)})
        assert found == dict.fromkeys(CA_NAMES, str(certificate))
    for name in ("ALL_PROXY", "all_proxy"):
        found = network_env.of_programs({name: "http://p:1", "NO_PROXY": "a"})
        assert found == {"http_proxy": "http://p:1", "https_proxy": "http://p:1", "no_proxy": "a"}


def test_the_unit_gets_every_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in network_env.NAMES:
        monkeypatch.setenv(name, f"value of {name}")
    monkeypatch.setenv("UNRELATED", "x")
    found = LookupModule().run(["unit"])[0]
    assert found == {name: f"value of {name}" for name in network_env.NAMES}


def test_what_pip_knows_is_known_here() -> None:
    """The variables that only pip has are those of its settings that say how to reach packages."""
    named = {name for name in network_env.NAMES if name.startswith("PIP_")} - {"PIP_CONFIG_FILE"}
    reaching = {"PIP_" + name.upper().replace("-", "_") for name in pip_config.REACHING}
    assert named <= reaching


# --- what cannot be right


SECRET = "hush"
BAD_PROXIES = {
    "socks5h://proxy:1080": "SOCKS",
    "socks4://proxy:1080": "SOCKS",
    "https://proxy:1080": "is not the address of an http proxy",
    "ftp://proxy:1080": "is not the address of an http proxy",
    '"http://proxy:3128"': "quotes",
    "'http://proxy:3128'": "quotes",
    "\u201chttp://proxy:3128\u201d": "quotes",
    f"http://me:{SECRET}#1@proxy:3128": "%23",
    f"http://me:{SECRET}/1@proxy:3128": "%2F",
    f"http://me:{SECRET}?1@proxy:3128": "%3F",
    f"me:{SECRET}#1@proxy:3128": "%23",
    f"http://me:{SECRET}@proxy:312a": "invalid host or port",
    f"http://me:{SECRET}@proxy:0": "invalid host or port",
    f"http://me:{SECRET}@proxy:99999": "invalid host or port",
    f"http://me:{SECRET}@": "invalid host or port",
    "http://": "invalid host or port",
    "http://[::1": "invalid host or port",
    "http://a b:3128": "space",
    "http://proxy:31\n28": "space",
}
GOOD_PROXIES = (
    "http://proxy:3128",
    "http://proxy",
    "proxy:3128",
    "HTTP://proxy:3128/",
    "http://me:p%23%2F%40@proxy:3128",
    "http://me:p@ss@proxy:3128",
    "http://[fd00::1]:3128",
    "http://proxy.example.",
)


@pytest.mark.parametrize("name", [*PROXY_NAMES, "https_proxy", "HTTPS_PROXY", "PIP_PROXY"])
@pytest.mark.parametrize("value", BAD_PROXIES)
def test_a_proxy_that_cannot_be_is_named_by_its_variable(value: str, name: str) -> None:
    (problem,) = network_env.problems({name: value})
    assert (problem.variable, problem.code) == (name, "BAD_PROXY")
    assert BAD_PROXIES[value] in problem.what
    assert SECRET not in " ".join(problem)
    assert "me" not in problem.what.split()


@pytest.mark.parametrize("value", GOOD_PROXIES)
def test_a_proxy_that_can_be(value: str) -> None:
    assert network_env.problems({"HTTPS_PROXY": value}) == []


def test_only_the_variable_that_counts_is_judged() -> None:
    environment = {"https_proxy": "http://good:1", "http_proxy": "http://good:1"}
    assert network_env.problems({**environment, "ALL_PROXY": "socks5://bad:1"}) == []


@pytest.fixture
def odd_files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "text").write_text("not a certificate")
    os.mkfifo(tmp_path / "pipe")
    return {
        str(tmp_path / "missing"): "No such file",
        str(tmp_path / "text"): "no PEM certificate",
        str(tmp_path / "pipe"): "not a certificate file",
    }


@pytest.mark.parametrize("name", [*CA_NAMES, "PIP_CLIENT_CERT"])
def test_a_certificate_file_that_cannot_be(name: str, odd_files: dict[str, str]) -> None:
    for path, why in odd_files.items():
        (problem,) = network_env.problems({name: path})
        assert (problem.variable, problem.code) == (name, "BAD_CA_FILE")
        assert why in problem.what


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("HF_TOKEN", "hf_a\nb", "BAD_TOKEN"),
        ("HF_TOKEN", "hf a", "BAD_TOKEN"),
        ("HF_ENDPOINT", "hub.example", "BAD_URL"),
        ("HF_ENDPOINT", "ftp://hub.example", "BAD_URL"),
        ("PIP_INDEX_URL", f"https://me:{SECRET}#x@host/simple", "BAD_URL"),
        ("PIP_INDEX_URL", f"https://me:{SECRET}/x@host/simple", "BAD_URL"),
        ("PIP_INDEX_URL", "'https://host/simple'", "BAD_URL"),
        ("PIP_EXTRA_INDEX_URL", "https://good/simple ftp://host/simple", "BAD_URL"),
        ("NO_PROXY", '"a,b"', "BAD_PROXY"),
    ],
)
def test_other_values_that_cannot_be(name: str, value: str, code: str) -> None:
    (problem,) = network_env.problems({name: value})
    assert (problem.variable, problem.code) == (name, code)
    assert SECRET not in " ".join(problem)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", " hf_abc\n"),
        ("HF_ENDPOINT", "https://mirror.example/hf"),
        ("PIP_INDEX_URL", "/srv/simple"),
        ("PIP_INDEX_URL", "file:///srv/simple"),
        ("PIP_INDEX_URL", "https://me:p%23@host:8443/simple/@scope"),
        ("SSL_CERT_DIR", "/nonexistent:/tmp"),
        ("HTTPS_PROXY", "  "),
    ],
)
def test_values_that_can_be(name: str, value: str) -> None:
    assert network_env.problems({name: value}) == []


def test_the_commands_name_it_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"HTTPS_PROXY": f"http://me:{SECRET}#1@proxy:1", "HOME": str(tmp_path)}
    told = []
    with pytest.raises(UsageError) as caught:
        fetch_command.run(["http://x/y"], sha256="0" * 64, output="y", environment=environment)
    told.append(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", environment["HTTPS_PROXY"])
    with pytest.raises(UsageError) as caught:
        lock.run()
    told.append(caught.value)
    for error in told:
        assert (error.code, error.where) == ("BAD_PROXY", "HTTPS_PROXY")
        assert SECRET not in f"{error} {error.hint}"
    with pytest.raises(UsageError) as caught:
        target.read_settings({}, None, environment)
    assert caught.value.where == "HTTPS_PROXY"
    offline = {**environment, "DREAM_OFFLINE": "yes"}
    assert target.read_settings({}, None, offline).settings["offline"]
    place = Place(str(tmp_path), {}, (), 0.0)
    (finding,) = doctor.CHECKS["network-variables"](place)
    assert finding.evidence.startswith("HTTPS_PROXY has '#'")
    assert os.listdir(tmp_path) == []
