#!/usr/bin/env python3
"""Write the smoke-test model: half a megabyte, random weights, reproducible bytes.

Tests need a model that loads quickly on any machine and needs no download. This one has the
structure of a real llama (two layers, width 64) and no knowledge: its answers are printable
nonsense, as its name and description say.

It uses only the standard library. The weights come from SHAKE-256, because numpy does not
guarantee the same random numbers across versions, and a pinned digest needs them.

    python3 scripts/make_smoke_model.py                 writes dream_runner/catalog/smoke.gguf
    python3 scripts/make_smoke_model.py --output FILE   writes FILE
    python3 scripts/make_smoke_model.py --check         exit 1 when the shipped file differs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

CATALOG = Path(__file__).resolve().parent.parent / "dream_runner" / "catalog"

NAME = "dream-runner smoke-test model (random weights)"
DESCRIPTION = (
    "A smoke-test model with random weights, made by scripts/make_smoke_model.py. It proves that "
    "the engine loads a model and answers; the answers mean nothing."
)
SEED = b"dream-runner smoke model 1"

WIDTH, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 2048
#: Standard deviation of the weights.
SPREAD = 0.08
ALIGNMENT = 32

LETTERS = "\u2581etaoinshrdlcumwfgypbvkjxqzETAOINSHRDLCUMWFGYPBVKJXQZ0123456789.,!?:;-'\"()<>|/\n"
WORDS = [f"\u2581{word}" for word in ("the", "hello", "world", "dream", "runner", "is", "a")]
PIECES = ["th", "he", "in", "er"]
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)

# GGUF 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
F32_TENSOR = 0


def text(value: str) -> bytes:
    """Return a GGUF string: its length, then its bytes."""
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def scalar(kind: int, value: object) -> bytes:
    """Return one value without its type."""
    if kind == STRING:
        return text(str(value))
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def entry(key: str, kind: int, value: object) -> bytes:
    """Return one metadata pair."""
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def list_entry(key: str, kind: int, values: Sequence[object]) -> bytes:
    """Return one metadata pair whose value is a list."""
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(scalar(kind, value) for value in values)


def vocabulary() -> list[tuple[str, float, int]]:
    """Return token, score and type: three control tokens, all bytes, letters, a few words."""
    tokens = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    tokens += [(letter, -float(rank), NORMAL) for rank, letter in enumerate(LETTERS, 1)]
    tokens += [(word, -float(rank), NORMAL) for rank, word in enumerate(WORDS + PIECES, 100)]
    return tokens


def metadata(tokens: Sequence[tuple[str, float, int]]) -> list[bytes]:
    """Return the metadata of the model."""
    return [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, NAME),
        entry("general.description", STRING, DESCRIPTION),
        entry("general.author", STRING, "dream-runner"),
        entry("general.license", STRING, "apache-2.0"),
        entry("general.file_type", UINT32, 0),
        entry("general.alignment", UINT32, ALIGNMENT),
        entry("llama.context_length", UINT32, CONTEXT),
        entry("llama.embedding_length", UINT32, WIDTH),
        entry("llama.block_count", UINT32, LAYERS),
        entry("llama.feed_forward_length", UINT32, FEED_FORWARD),
        entry("llama.attention.head_count", UINT32, HEADS),
        entry("llama.attention.head_count_kv", UINT32, HEADS),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        entry("llama.rope.dimension_count", UINT32, WIDTH // HEADS),
        entry("llama.vocab_size", UINT32, len(tokens)),
        entry("tokenizer.ggml.model", STRING, "llama"),
        list_entry("tokenizer.ggml.tokens", STRING, [token for token, _, _ in tokens]),
        list_entry("tokenizer.ggml.scores", FLOAT32, [score for _, score, _ in tokens]),
        list_entry("tokenizer.ggml.token_type", INT32, [kind for _, _, kind in tokens]),
        entry("tokenizer.ggml.bos_token_id", UINT32, 1),
        entry("tokenizer.ggml.eos_token_id", UINT32, 2),
        entry("tokenizer.ggml.unknown_token_id", UINT32, 0),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
        entry("tokenizer.chat_template", STRING, TEMPLATE),
    ]


def noise(name: str, count: int) -> list[float]:
    """Return ``count`` weights that depend only on the seed and the tensor's name."""
    stream = hashlib.shake_256(SEED + b"\0" + name.encode()).digest(4 * count)
    half_width = SPREAD * math.sqrt(3.0)
    return [(number / 2.0**31 - 1.0) * half_width for number in struct.unpack(f"<{count}I", stream)]


def tensors(tokens: Sequence[tuple[str, float, int]]) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Return name, shape (fastest dimension first, as in GGUF) and bytes of every tensor."""

    def packed(values: Sequence[float]) -> bytes:
        return struct.pack(f"<{len(values)}f", *values)

    def random(name: str, rows: int, columns: int) -> tuple[str, tuple[int, ...], bytes]:
        return name, (columns, rows), packed(noise(name, rows * columns))

    def ones(name: str) -> tuple[str, tuple[int, ...], bytes]:
        return name, (WIDTH,), packed([1.0] * WIDTH)

    # A row of zeros has a logit of zero, which is never the largest. So no answer ends at its
    # first token, and none contains half a UTF-8 character.
    output = noise("output.weight", len(tokens) * WIDTH)
    for row, (_, _, kind) in enumerate(tokens):
        if kind != NORMAL:
            output[row * WIDTH : (row + 1) * WIDTH] = [0.0] * WIDTH

    made = [
        random("token_embd.weight", len(tokens), WIDTH),
        ("output.weight", (WIDTH, len(tokens)), packed(output)),
        ones("output_norm.weight"),
    ]
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        made += [ones(block + "attn_norm.weight"), ones(block + "ffn_norm.weight")]
        made += [
            random(f"{block}attn_{part}.weight", WIDTH, WIDTH) for part in ("q", "k", "v", "output")
        ]
        made += [
            random(block + "ffn_gate.weight", FEED_FORWARD, WIDTH),
            random(block + "ffn_up.weight", FEED_FORWARD, WIDTH),
            random(block + "ffn_down.weight", WIDTH, FEED_FORWARD),
        ]
    return made


def padding(length: int) -> bytes:
    """Return the zeros that align a part of ``length`` bytes."""
    return b"\0" * (-length % ALIGNMENT)


def build() -> bytes:
    """Return the bytes of the model file."""
    tokens = vocabulary()
    pairs = metadata(tokens)
    parts = tensors(tokens)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(pairs)) + b"".join(pairs)
    body = b""
    for name, shape, content in parts:
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", F32_TENSOR, len(body))
        body += content + padding(len(content))
    return head + padding(len(head)) + body


def describe(content: bytes) -> str:
    """Return digest and size for the catalogue, as JSON."""
    document = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the model; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=CATALOG / "smoke.gguf")
    parser.add_argument(
        "--check", action="store_true", help="check that the shipped file is up to date"
    )
    options = parser.parse_args(arguments)
    content = build()
    pin: Path = options.output.with_name(options.output.name + ".json")
    if options.check:
        same = options.output.read_bytes() == content and pin.read_text() == describe(content)
        print(f"{options.output}: {'up to date' if same else 'outdated'}")
        return 0 if same else 1
    options.output.write_bytes(content)
    pin.write_text(describe(content))
    print(f"{options.output}: {describe(content)}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
