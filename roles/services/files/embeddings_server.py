"""Compute sentence embeddings with all-MiniLM-L6-v2 and serve them as OpenAI's API does.

Part of the process of Open WebUI (open_webui_server.py), which asks it over the loopback address
with a key that is made anew at each start. The model is a BERT encoder of six layers. Its weights
come in a Python package; numpy and the package tokenizers, which Open WebUI has, are all it needs.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import os
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "all-MiniLM-L6-v2"
PACKAGE = "all_minilm_l6_v2"
#: The digests of the files that the model's makers published.
FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
#: The model was trained on texts of up to so many tokens.
TOKENS = 256
_LAYERS, _HEADS = 6, 12
#: Texts that are computed together.
_BATCH = 16
_BODY_BYTES = 32 * 1024 * 1024


def packed() -> dict[str, bytes]:
    """Return the model's files from its package. Raises ValueError if one is not the published."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.origin:
        raise ValueError(f"the package {PACKAGE} is missing")
    files = {}
    with zipfile.ZipFile(os.path.join(os.path.dirname(found.origin), "model.zip")) as archive:
        for name, digest in FILES.items():
            (member,) = (item for item in archive.namelist() if item.rpartition("/")[2] == name)
            files[name] = archive.read(member)
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise ValueError(f"{name} of {PACKAGE} is not the published file")
    return files


class Model:
    """The encoder: texts in, vectors of length one out."""

    def __init__(self, files: dict[str, bytes]) -> None:
        import numpy
        from tokenizers import Tokenizer

        self._numpy = numpy
        self._weights = tensors(files["model.safetensors"], numpy)
        self._tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode("utf-8"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKENS)

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of 384 numbers for each text, in the same order."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        # Texts of one length are computed together, so that little is padding.
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        vectors: list[list[float]] = [[] for _ in tokens]
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            found = self._encode([tokens[index] for index in chosen])
            for index, vector in zip(chosen, found.tolist(), strict=True):
                vectors[index] = vector
        return vectors

    def count(self, texts: list[str]) -> int:
        """Return the number of tokens in all texts."""
        return sum(len(encoding.ids) for encoding in self._tokenizer.encode_batch(texts))

    def _encode(self, tokens):
        """Return the normalized mean of the last layer over the tokens of each text."""
        numpy, weights = self._numpy, self._weights
        width = max(map(len, tokens))
        ids = numpy.zeros((len(tokens), width), dtype=numpy.int64)
        mask = numpy.zeros((len(tokens), width), dtype=numpy.float32)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        state = weights["embeddings.word_embeddings.weight"][ids]
        state = state + weights["embeddings.position_embeddings.weight"][:width]
        state = state + weights["embeddings.token_type_embeddings.weight"][0]
        state = self._norm(state, "embeddings.LayerNorm")
        bias = (1 - mask)[:, None, None, :] * numpy.float32(-1e9)
        for layer in range(_LAYERS):
            state = self._layer(state, bias, f"encoder.layer.{layer}.")
        summed = (state * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return summed / numpy.linalg.norm(summed, axis=1, keepdims=True)

    def _layer(self, state, bias, name):
        numpy = self._numpy
        query, key, value = (
            self._heads(self._dense(state, f"{name}attention.self.{part}"))
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / numpy.float32(query.shape[-1] ** 0.5) + bias
        scores = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        seen = (scores @ value).transpose(0, 2, 1, 3).reshape(state.shape)
        seen = self._dense(seen, f"{name}attention.output.dense")
        state = self._norm(state + seen, f"{name}attention.output.LayerNorm")
        inner = gelu(self._dense(state, f"{name}intermediate.dense"), numpy)
        return self._norm(
            state + self._dense(inner, f"{name}output.dense"), f"{name}output.LayerNorm"
        )

    def _heads(self, state):
        rows, width, size = state.shape
        return state.reshape(rows, width, _HEADS, size // _HEADS).transpose(0, 2, 1, 3)

    def _dense(self, state, name):
        return state @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]

    def _norm(self, state, name):
        mean = state.mean(axis=-1, keepdims=True)
        spread = ((state - mean) ** 2).mean(axis=-1, keepdims=True)
        state = (state - mean) / self._numpy.sqrt(spread + self._numpy.float32(1e-12))
        return state * self._weights[name + ".weight"] + self._weights[name + ".bias"]


def gelu(state, numpy):
    """Return the exact GELU; numpy has no error function, so this is Abramowitz and Stegun 7.1.26.

    Its error is below 2e-7, less than a float32 holds.
    """
    size = numpy.abs(state) * numpy.float32(0.7071067811865476)
    step = 1 / (1 + numpy.float32(0.3275911) * size)
    series = numpy.float32(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * step + numpy.float32(factor)
    error = numpy.copysign(1 - series * step * numpy.exp(-size * size), state)
    return state * numpy.float32(0.5) * (1 + error)


def tensors(content: bytes, numpy) -> dict:
    """Return the tensors of a safetensors file by name. Raises ValueError for another form."""
    (size,) = struct.unpack_from("<Q", content)
    found = {}
    for name, item in json.loads(content[8 : 8 + size]).items():
        if name == "__metadata__" or name.endswith("position_ids"):
            continue
        if item["dtype"] != "F32":
            raise ValueError(f"{name} is of {item['dtype']}")
        start, end = item["data_offsets"]
        count = (end - start) // 4
        data = numpy.frombuffer(content, numpy.float32, count, 8 + size + start)
        found[name] = data.reshape(item["shape"])
    return found


class Server:
    """The address and key of the embeddings; it computes once :meth:`start` has read the model."""

    def __init__(self, key: str, model: Model | None = None) -> None:
        self.key = key
        self._model = model
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Return the base address, in the form of OpenAI's."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        """Serve in a thread of its own; the model is read at the first question."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, body: bytes) -> dict:
        """Return the answer to a request. Raises ValueError if it makes no sense."""
        asked = json.loads(body)
        texts = asked["input"]
        texts = [texts] if isinstance(texts, str) else texts
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError("input is not a list of texts")
        with self._lock:
            self._model = self._model or Model(packed())
            vectors, tokens = self._model.embed(texts), self._model.count(texts)
        return {
            "object": "list",
            "model": NAME,
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                """Say nothing of each request."""

            def do_POST(self):
                """Answer ``/v1/embeddings`` for whoever has the key."""
                size = self.headers.get("Content-Length", "")
                if not size.isdigit() or int(size) > _BODY_BYTES:
                    self.close_connection = True
                    return self._send(413, {"error": {"message": "the body has no usable size"}})
                body = self.rfile.read(int(size))
                given = self.headers.get("Authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(given.encode(), server.key.encode()):
                    return self._send(401, {"error": {"message": "the key is wrong"}})
                if self.path != "/v1/embeddings":
                    return self._send(404, {"error": {"message": "there are only embeddings"}})
                try:
                    return self._send(200, server.answer(body))
                except (ValueError, LookupError, TypeError) as error:
                    return self._send(400, {"error": {"message": str(error)}})

            def _send(self, status, document):
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler
