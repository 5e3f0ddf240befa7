"""Download the Python and Debian packages of a bundle with pip and apt, which verify them."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from .. import paths
from ..module_utils.dream_core.containers import engine_choice, engine_source
from ..module_utils.dream_core.errors import IntegrityError, NetworkError, RequirementError
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.redact import without_logins
from ..module_utils.dream_core.types.facts import Os

#: Debian packages that install.sh needs.
_VENV = "python3-venv"
#: Debian packages that every profile needs (roles/requirements/vars/debian.yml).
DEBS = ("ca-certificates", "libgomp1", _VENV)
_PLATFORMS = {
    "amd64": "x86_64",
    "arm64": "aarch64",
}
_MANYLINUX = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_5", "manylinux1")
_PRIORITY = re.compile(r"^(Package|Version|Priority|Essential|Filename): (.+)$", re.M)


def requirement_files() -> list[Path]:
    """Return the requirement files with hashes: of the wrapper, and of the native engine."""
    content = paths.content()
    engine = content / "roles" / "services" / "files" / "engine-requirements.txt"
    return [content / "requirements.lock", engine]


def fetch_wheels(
    target: Path, pythons: Sequence[str], arch: str, environment: Mapping[str, str]
) -> None:
    """Download every pinned wheel for these Python versions; pip rejects another digest.

    Existing wheels with the right digest are not downloaded again. Raises NetworkError,
    IntegrityError or RequirementError.
    """
    for python in pythons:
        for requirements in requirement_files():
            words = ("--dest", str(target), *_tags(python, arch), "-r", str(requirements))
            run_pip(environment, "download", *words)


def _tags(python: str, arch: str) -> Iterator[str]:
    """Yield pip's options for another Python version than this one."""
    short = python.replace(".", "")
    yield from ("--python-version", python, "--implementation", "cp")
    for abi in (f"cp{short}", "abi3", "none"):
        yield from ("--abi", abi)
    for flavour in (*_MANYLINUX, "linux"):
        yield from ("--platform", f"{flavour}_{_PLATFORMS[arch]}")


def run_pip(environment: Mapping[str, str], *words: str) -> None:
    """Run pip for pinned wheels. Raises IntegrityError, NetworkError or RequirementError."""
    command = [sys.executable, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check"]
    command += [words[0], "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    known = network_env.of_pip(environment)
    command += words[1:]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    if done.returncode == 0:
        return
    said = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    said = without_logins(said)[:300]
    if "HASHES" in done.stderr:
        raise IntegrityError(
            f"a package has another digest than the pinned one: {said}",
            code="DIGEST_MISMATCH",
            hint="check the package index or the proxy",
        )
    if "407 Proxy Authentication" in done.stdout + done.stderr:
        raise NetworkError(
            f"pip could not download the packages: the proxy requires a login ({said})",
            code="PROXY_REFUSED",
            hint="check the user and password of the proxy in HTTPS_PROXY or HTTP_PROXY",
        )
    if "No matching distribution" in done.stderr:
        raise RequirementError(said, code="NO_WHEEL", hint="leave out that --python or --arch")
    raise NetworkError(
        f"pip could not download the packages: {said}",
        code="NETWORK_FAILED",
        hint="check the connection and the PIP_* variables, then run this again",
    )


def make_own_wheel(target: Path, environment: Mapping[str, str]) -> None:
    """Add dream-runner's own wheel: built from a checkout, or from the installed files."""
    checkout = paths.content()
    if (checkout / "pyproject.toml").is_file():
        command = [sys.executable, "-I", "-m", "pip", "--no-input", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--no-index", "--wheel-dir", str(target), str(checkout)]
        known = network_env.of_pip(environment)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
        if done.returncode != 0:
            raise RequirementError(
                f"cannot build the wheel of dream-runner: {done.stderr.strip()[-300:]}",
                code="NO_WHEEL",
                hint="install the Python package hatchling",
            )
        return
    own = metadata.distribution("dream-runner")
    name = target / f"dream_runner-{own.version}-py3-none-any.whl"
    with zipfile.ZipFile(name.with_suffix(".tmp"), "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry in own.files or ():
            source = Path(str(own.locate_file(entry)))
            # pip compiles byte code again at the installation.
            if not entry.as_posix().startswith("..") and source.suffix != ".pyc":
                wheel.write(source, entry.as_posix())
            elif entry.name == "dream-runner" and entry.parent.name == "bin":
                wheel.write(source, f"dream_runner-{own.version}.data/scripts/dream-runner")
    name.with_suffix(".tmp").replace(name)


def engine_debs(system: Os) -> tuple[list[str], list[str]]:
    """Return the container engine packages that apt offers on this host, and notes.

    ``system`` is the part ``os`` of the facts. Targets of the same release install the same
    packages. Docker's own packages are only available if its repository is set up.
    """
    offers = (
        engine_source.distribution_packages(system),
        engine_source.upstream_packages(system),
    )
    engine = next((names for names in offers if names and _is_known(names)), ())
    toolkit = [name for name in engine_choice.TOOLKIT_PACKAGES if _is_known([name])]
    if engine:
        return [*engine, *toolkit], []
    return toolkit, [
        "no container engine is included: apt has none with compose 2. Set up Docker's"
        " repository on this host, or install an engine on the targets"
    ]


def _is_known(names: Sequence[str]) -> bool:
    return all(_output("apt-cache", "show", "--no-all-versions", name) for name in names)


def fetch_debs(target: Path, more: Sequence[str] = ()) -> list[str]:
    """Download ``DEBS`` and ``more`` with the dependencies that a minimal system lacks.

    Return notes about what is missing. apt verifies each package by the signed package lists.
    """
    if not shutil.which("apt-get"):
        return ["no Debian packages are included: this host has no apt-get"]
    wanted = _closure([*DEBS, *more])
    names = [name for name in wanted if not glob.glob(str(target / f"{name}_*.deb"))]
    if not names:
        return []
    work = target / ".part"
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    for path in work.glob("*.deb"):
        # FAT does not allow the colon of an epoch; apt writes it as %3a already.
        path.rename(target / path.name)
    shutil.rmtree(work)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["apt-get failed"])[-1]
        return [f"some Debian packages are missing: {said[:200]}"]
    return []


def venv_debs(folder: Path) -> list[Path]:
    """Return the files in ``folder`` that provide the module venv on a minimal Debian."""
    if not shutil.which("apt-get"):
        return []
    names = _closure([_VENV])
    return sorted(path for path in folder.glob("*.deb") if path.name.partition("_")[0] in names)


def _closure(wanted: Sequence[str]) -> list[str]:
    """Return the packages that apt would install on a minimal Debian."""
    empty = ["-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1"]
    options = ["--no-install-recommends", "--simulate", "-q"]
    said = _output("apt-get", *empty, *options, "install", *wanted)
    names = sorted(set(re.findall(r"^Inst (\S+)", said, re.M)))
    # Assume a minimal Debian with python3 and its dependencies: install.sh needs python3.
    there = set(
        re.findall(
            r"^Inst (\S+)",
            _output("apt-get", *empty, *options, "install", "python3", *_base()),
            re.M,
        )
    )
    return [name for name in names if name not in there]


def _base() -> list[str]:
    """Return the packages of priority required: cloud images lack some important ones."""
    shown = _output("apt-cache", "dumpavail")
    base = []
    for block in shown.split("\n\n"):
        fields = dict(_PRIORITY.findall(block))
        if fields.get("Priority") == "required":
            base.append(fields["Package"])
    return sorted(set(base))


def _output(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout
