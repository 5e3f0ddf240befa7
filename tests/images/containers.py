"""The images that services run from in tests."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from fixtures import standins

from . import archive, cache, debian

PREFIX = "localhost/dream-runner-test"

#: llama-server is in Debian's unstable release only; busybox gives the image a shell and wget.
SUITE = "sid"
LLAMA_PACKAGES = ("llama.cpp-tools", "busybox-static")
LLAMA_PROGRAM = "usr/bin/llama-server"
#: Opened at run time by name, so that no ldd shows them.
LLAMA_PLUGINS = "usr/lib/*/ggml/backends0/*.so"

#: Upstream's images bring curl for their health checks; busybox has wget.
CURL = """\
#!/bin/sh
for url; do :; done
exec wget -q -O - "$url"
"""

#: Answers every request on every port with 200. nc -ll serves until it is ended.
STUB = """\
#!/bin/sh
for port in ${STUB_PORTS:-8080}; do
    nc -ll -p "$port" -e /answer &
done
trap 'kill $(jobs -p); exit 0' TERM INT
wait
"""
ANSWER = """\
#!/bin/sh
while IFS= read -r line && [ "$line" != "$(printf '\\r')" ]; do :; done
printf 'HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\n\\r\\n'
printf '{"status":"ok"}\\n'
"""
#: Beside busybox: the program of the stand-ins, and what of its library they can use.
PYTHON_SUITE, PYTHON = "trixie", "python3.13"
PYTHON_PACKAGES = (PYTHON, f"lib{PYTHON}-stdlib", "busybox-static")
_LEFT_OUT = (
    *("__pycache__", "asyncio", "ctypes", "curses", "dbm", "ensurepip", "idlelib"),
    *("multiprocessing", "pydoc_data", "sqlite3", "sysconfig", "test", "tkinter"),
    *("turtledemo", "unittest", "venv", "wsgiref", "xml"),
)
#: They need libraries beside libc; hashlib has its own functions without OpenSSL.
_EXTENSIONS_LEFT_OUT = re.compile(
    "_(asyncio|bz2|ctypes|curses|dbm|gdbm|hashlib|lzma|readline|sqlite3|ssl|test|uuid|xx|zstd)"
    "|readline|nis|xx"
)
#: Of the image of Hermes; dream-runner's command of the container ends in it.
HERMES = """\
#!/bin/sh
exec /usr/bin/python3 -B /standins.py hermes "$@"
"""

APPLETS = ("cat", "env", "id", "kill", "ls", "nc", "sh", "sleep", "test", "wget")
STAND_IN_APPLETS = (*APPLETS, "cp", "printf", "sha256sum")


def llama_server(reference: str = f"{PREFIX}/llama-server:0.7.0") -> archive.Image:
    """Return llama.cpp's own server, a real engine, called ``reference``."""
    root = cache.cached(
        f"llama-root-{cache.digest(SUITE, LLAMA_PACKAGES, LLAMA_PLUGINS, CURL, APPLETS)}",
        _make_llama_root,
    )
    settings = {
        "Entrypoint": ["/" + LLAMA_PROGRAM],
        "Env": ["PATH=/usr/bin:/bin", "HOME=/tmp"],
        "ExposedPorts": {"8080/tcp": {}},
    }
    return _image(reference, root, settings)


def web_stub(
    ports: Iterable[int] = (8080,), reference: str = f"{PREFIX}/web-stub:1"
) -> archive.Image:
    """Return a stand-in that says 200 on ``ports``, for what cannot be pulled here.

    ``STUB_PORTS`` in the environment of a container is stronger than ``ports``.
    """
    root = cache.cached(
        f"stub-root-{cache.digest(SUITE, STUB, ANSWER, CURL, APPLETS)}", _make_stub_root
    )
    settings = {
        "Entrypoint": ["/stub"],
        "Env": ["PATH=/usr/bin:/bin", "STUB_PORTS=" + " ".join(map(str, ports))],
    }
    return _image(reference, root, settings)


def stand_in(service: str) -> archive.Image:
    """Return the image of a service of the catalogue that answers like its product.

    They differ in their configuration and share one layer, which an engine pulls once.
    """
    program = Path(standins.__file__).read_text()
    recipe = (PYTHON_SUITE, PYTHON_PACKAGES, _LEFT_OUT, _EXTENSIONS_LEFT_OUT, HERMES, program)
    mark = cache.digest(recipe, CURL, STAND_IN_APPLETS)
    root = cache.cached(f"standins-root-{mark}", _make_stand_ins_root)
    layer = cache.cached(
        f"standins-layer-{mark}", lambda target: archive.pack(root, target / "layer.tar")
    )
    start = ["/usr/bin/python3", "-B", "/standins.py", service]
    settings: dict[str, object] = {
        "Entrypoint": [] if service == "hermes" else start,
        "Cmd": ["hermes", "gateway", "run"] if service == "hermes" else [],
        "Env": ["PATH=/usr/bin:/bin"],
    }
    return _image(f"{PREFIX}/{service}:1", root, settings, layer / "layer.tar")


def broken(reference: str = f"{PREFIX}/broken:1") -> archive.Image:
    """Return an image without a program, so that no container of it ever starts."""

    def make(root: Path) -> None:
        (root / "nothing").write_text("no program\n")

    root = cache.cached("broken-root", make)
    return _image(reference, root, {"Entrypoint": ["/none"]})


def _image(
    reference: str, root: Path, settings: dict[str, object], packed: Path | None = None
) -> archive.Image:
    def make(target: Path) -> None:
        archive.write(target, root, reference, debian.architecture(), settings, packed)

    name = f"image-{cache.digest(reference, root.name, settings)}"
    return archive.Image(cache.cached(name, make))


def _make_llama_root(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dream-runner-image-", dir="/var/tmp") as work:
        whole = Path(work) / "whole"
        debian.unpack(debian.download(Path(work), SUITE, LLAMA_PACKAGES), whole)
        plugins = [str(path.relative_to(whole)) for path in whole.glob(LLAMA_PLUGINS)]
        for name in {LLAMA_PROGRAM, *plugins, *_libraries(whole, [LLAMA_PROGRAM, *plugins])}:
            _copy(whole, root, name)
        _add_busybox(whole, root)


def _make_stub_root(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dream-runner-image-", dir="/var/tmp") as work:
        whole = Path(work) / "whole"
        debian.unpack(debian.download(Path(work), SUITE, ("busybox-static",)), whole)
        _add_busybox(whole, root)
    for name, content in (("stub", STUB), ("answer", ANSWER)):
        (root / name).write_text(content)
        (root / name).chmod(0o755)


def _make_stand_ins_root(root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dream-runner-image-", dir="/var/tmp") as work:
        whole = Path(work) / "whole"
        debian.unpack(debian.download(Path(work), PYTHON_SUITE, PYTHON_PACKAGES), whole)
        program, library = f"usr/bin/{PYTHON}", f"usr/lib/{PYTHON}"
        for path in sorted((whole / library / "lib-dynload").iterdir()):
            if _EXTENSIONS_LEFT_OUT.match(path.name):
                path.unlink()
        left = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(whole / library, root / library, ignore=left, symlinks=True)
        for name in {program, *_libraries(whole, [program])}:
            _copy(whole, root, name)
        _add_busybox(whole, root, STAND_IN_APPLETS)
    (root / "usr/bin/python3").symlink_to(PYTHON)
    shutil.copy(standins.__file__, root / "standins.py")
    hermes = root / "usr/bin/hermes"
    hermes.write_text(HERMES)
    hermes.chmod(0o755)
    # Without this every container compiles the library again at its start.
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/usr/lib"]
    debian.output(["chroot", str(root), "/usr/bin/python3", *compile_all])


def _libraries(root: Path, programs: Sequence[str]) -> set[str]:
    """Return the libraries of ``programs`` and their loader, below ``root``."""
    loader = next(root.glob("usr/lib*/ld-linux*"))
    name = "/" + str(loader.relative_to(root))
    found = {name.lstrip("/")}
    for program in programs:
        said = debian.output(["chroot", str(root), name, "--list", "/" + program])
        words = [word for line in said.splitlines() for word in line.split()]
        found |= {word.lstrip("/") for word in words if word.startswith("/")}
    return found


def _copy(whole: Path, root: Path, name: str) -> None:
    """Copy one file to the place it is looked for; /lib and /lib64 become links as in Debian."""
    source = whole / name
    top, _, rest = name.partition("/")
    if top in ("bin", "lib", "lib64"):
        name = f"usr/{top}/{rest}"
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"usr/{top}")
    target = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _add_busybox(whole: Path, root: Path, applets: Sequence[str] = APPLETS) -> None:
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(whole / "usr/bin/busybox", root / "usr/bin/busybox")
    if not (root / "bin").is_symlink():
        (root / "bin").symlink_to("usr/bin")
    for applet in applets:
        (root / "usr/bin" / applet).symlink_to("busybox")
    curl = root / "usr/bin/curl"
    curl.write_text(CURL)
    curl.chmod(0o755)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name, mode in (("tmp", 0o1777), ("root", 0o700), ("proc", 0o755), ("sys", 0o755)):
        (root / name).mkdir()
        (root / name).chmod(mode)
