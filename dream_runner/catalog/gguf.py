"""Read the header of a GGUF file: architecture, context and shape.

The format is specified in llama.cpp's ``ggml/docs/gguf.md``: a magic number, a version, two
counts, then typed key-value pairs. Only the pairs are read, and only up to the tokenizer, which
is large and not needed. The package ``gguf`` on PyPI would add a dependency on NumPy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..module_utils.dream_core.errors import UsageError
from ..module_utils.dream_core.types import choice

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: Type numbers of the specification, with struct's format; strings and arrays are separate.
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
#: Limits. Real files have about 40 pairs and chat templates of a few kilobytes.
_MOST_PAIRS, _LONGEST_STRING, _LONGEST_ARRAY = 10_000, 1 << 20, 1 << 20
#: Maximum length of an array that may describe layers; longer ones are skipped.
_MOST_LAYERS = 4096


@dataclass(frozen=True)
class Header:
    """The header of a file; unknown counts are 0.

    ``context_tokens`` is the context the model was trained for. ``attention`` lists the layers as
    the catalogue does: ``{layers, kv_heads, key_dim, value_dim}``; empty if the shape is unknown.
    """

    architecture: str
    name: str
    context_tokens: int
    attention: tuple[choice.Layers, ...]

    def to_dict(self) -> choice.Header:
        """Return the header as plain data."""
        return {
            "architecture": self.architecture,
            "name": self.name,
            "context_tokens": self.context_tokens,
            "attention": [group.copy() for group in self.attention],
        }


def read(path: str) -> Header:
    """Return the header of the file at ``path``.

    Raises OSError if the file cannot be read, UsageError NOT_A_GGUF if it is another kind of file
    or truncated.
    """
    with open(path, "rb") as stream:
        try:
            return _header(_pairs(stream))
        except (struct.error, ValueError, UnicodeDecodeError, EOFError) as error:
            raise UsageError(
                f"{path} is not a GGUF model file",
                code="NOT_A_GGUF",
                where=path,
                hint="use a file in llama.cpp's GGUF format; the download may also be incomplete",
            ) from error


def _pairs(stream: BinaryIO) -> dict[str, Any]:
    if stream.read(4) != _MAGIC:
        raise ValueError("no GGUF magic")
    (version,) = _unpack(stream, "I")
    if version not in _VERSIONS:
        raise ValueError("unknown version")
    _, count = _unpack(stream, "QQ")
    if count > _MOST_PAIRS:
        raise ValueError("too many pairs")
    pairs: dict[str, Any] = {}
    for _ in range(count):
        key = _string(stream)
        if key.startswith("tokenizer."):
            break
        pairs[key] = _value(stream, _unpack(stream, "I")[0])
    return pairs


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(stream)
    if kind == _ARRAY:
        return _array(stream)
    return _unpack(stream, _NUMBERS.get(kind) or _unknown())[0]


def _array(stream: BinaryIO) -> list[Any] | None:
    """Return a short array of numbers; skip all other arrays."""
    kind, count = _unpack(stream, "IQ")
    if count > _LONGEST_ARRAY or kind == _ARRAY:
        raise ValueError("array too long")
    if kind == _STRING:
        for _ in range(count):
            _string(stream)
        return None
    letter = _NUMBERS.get(kind) or _unknown()
    found = _unpack(stream, f"{count}{letter}")
    return list(found) if count <= _MOST_LAYERS else None


def _unknown() -> str:
    raise ValueError("unknown type")


def _string(stream: BinaryIO) -> str:
    (length,) = _unpack(stream, "Q")
    if length > _LONGEST_STRING:
        raise ValueError("string too long")
    return _exactly(stream, length).decode("utf-8")


def _unpack(stream: BinaryIO, form: str) -> tuple[Any, ...]:
    form = "<" + form
    return struct.unpack(form, _exactly(stream, struct.calcsize(form)))


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data


def _header(pairs: dict[str, Any]) -> Header:
    architecture = pairs.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise ValueError("no architecture")
    own = {
        key.removeprefix(architecture + "."): value
        for key, value in pairs.items()
        if key.startswith(architecture + ".")
    }
    return Header(
        architecture=architecture,
        name=str(pairs.get("general.name") or ""),
        context_tokens=_count(own.get("context_length")),
        attention=_attention(own),
    )


def _attention(own: dict[str, Any]) -> tuple[choice.Layers, ...]:
    """Return the layers in groups of equal shape, all counted with full attention.

    That is an upper bound for models with windows or recurrent layers. Without explicit key and
    value lengths, a head's size is the embedding length divided by the heads (gguf.md).
    """
    layers, heads = _count(own.get("block_count")), own.get("attention.head_count")
    per_layer = own.get("attention.head_count_kv", heads)
    kv_heads = per_layer if isinstance(per_layer, list) else [per_layer] * layers
    most_heads = max(heads, default=0) if isinstance(heads, list) else heads
    head = _count(own.get("embedding_length")) // max(1, _count(most_heads))
    key_dim = _count(own.get("attention.key_length")) or head
    value_dim = _count(own.get("attention.value_length")) or head
    counts = [_count(item) for item in kv_heads]
    if not layers or layers > _MOST_LAYERS or len(counts) != layers or not key_dim or not value_dim:
        return ()
    return tuple(
        {
            "layers": counts.count(number),
            "kv_heads": number,
            "key_dim": key_dim,
            "value_dim": value_dim,
        }
        for number in sorted(set(counts))
        if number
    )


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31
    return value if is_count else 0
