"""Tiny BERT models with random weights, written as GGUF files, and what they compute, in numpy.

No model of embeddings is small enough to be fetched for a test, so these stand in: two layers, 64 numbers a token, a vocabulary of words w0, w1, ...
"""

from __future__ import annotations

import struct

import numpy as np

WIDTH, FORWARD, BLOCKS, HEADS, WORDS, CONTEXT = 64, 128, 2, 4, 400, 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CLS, SEP = 2, 3
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def weights(seed: int = 1, head: bool = False) -> dict[str, np.ndarray]:
    """By GGUF name; a matrix is [out, in]."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, mean: float = 0.0, spread: float = 0.2) -> None:
        found[name] = random.normal(mean, spread, shape).astype(np.float32)

    def linear(name: str, out: int, size: int) -> None:
        add(name + ".weight", out, size)
        add(name + ".bias", out, spread=0.1)

    def norm(name: str) -> None:
        add(name + ".weight", WIDTH, mean=1.0, spread=0.1)
        add(name + ".bias", WIDTH, spread=0.1)

    add("token_embd.weight", WORDS, WIDTH)
    add("token_types.weight", 2, WIDTH)
    add("position_embd.weight", CONTEXT, WIDTH)
    norm("token_embd_norm")
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            linear(f"blk.{block}.{name}", WIDTH, WIDTH)
        norm(f"blk.{block}.attn_output_norm")
        linear(f"blk.{block}.ffn_up", FORWARD, WIDTH)
        linear(f"blk.{block}.ffn_down", WIDTH, FORWARD)
        norm(f"blk.{block}.layer_output_norm")
    if head:
        linear("cls", WIDTH, WIDTH)
        linear("cls.output", 1, WIDTH)
    return found


def tokens() -> list[str]:
    return SPECIAL + [f"\u2581w{i}" for i in range(WORDS - len(SPECIAL))]


def word_id(word: str) -> int:
    return len(SPECIAL) + int(word[1:])


def gguf(tensors: dict[str, np.ndarray], pooling: str | None) -> bytes:
    """The file. `pooling`: what it says of itself; None: nothing."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def array(kind: int, items: list[bytes]) -> bytes:
        return struct.pack("<IQ", kind, len(items)) + b"".join(items)

    numbers = {"block_count": BLOCKS, "context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": FORWARD,
               "attention.head_count": HEADS} | ({} if pooling is None else {"pooling_type": POOLINGS[pooling]})
    roles = {"padding": 0, "unknown": 1, "bos": CLS, "cls": CLS, "seperator": SEP, "mask": 4}
    keys = [("general.architecture", STRING, text("bert")),
            ("bert.attention.layer_norm_epsilon", F32, struct.pack("<f", 1e-5)),
            ("bert.attention.causal", BOOL, b"\0"),
            ("tokenizer.ggml.model", STRING, text("bert")),
            ("tokenizer.ggml.token_type_count", U32, struct.pack("<I", 2)),
            ("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(token) for token in tokens()])),
            ("tokenizer.ggml.token_type", ARRAY, array(I32, [struct.pack("<i", 3 if i < len(SPECIAL) else 1) for i in range(WORDS)]))]
    keys += [(f"bert.{name}", U32, struct.pack("<I", value)) for name, value in numbers.items()]
    keys += [(f"tokenizer.ggml.{role}_token_id", U32, struct.pack("<I", token)) for role, token in roles.items()]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, value in keys:
        out += text(name) + struct.pack("<I", kind) + value
    offset = 0
    for name, tensor in tensors.items():
        out += text(name) + struct.pack("<I", tensor.ndim) + b"".join(struct.pack("<Q", size) for size in reversed(tensor.shape))
        out += struct.pack("<IQ", 0, offset)
        offset += -(-tensor.nbytes // 32) * 32
    for tensor in tensors.values():
        out += b"\0" * (-len(out) % 32) + tensor.tobytes()
    return out


def hidden(tensors: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """The vectors of the tokens after the last layer, in double precision."""
    get = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ get[name + ".weight"].T + get[name + ".bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * get[name + ".weight"] + get[name + ".bias"]

    x = get["token_embd.weight"][ids] + get["token_types.weight"][0] + get["position_embd.weight"][: len(ids)]
    x = norm("token_embd_norm", x)
    for block in range(BLOCKS):
        q, k, v = (linear(f"blk.{block}.attn_{name}", x).reshape(len(ids), HEADS, -1) for name in "qkv")
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        seen = np.einsum("hij,jhd->ihd", shares, v).reshape(len(ids), WIDTH)
        x = norm(f"blk.{block}.attn_output_norm", x + linear(f"blk.{block}.attn_output", seen))
        y = linear(f"blk.{block}.ffn_up", x)
        y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
        x = norm(f"blk.{block}.layer_output_norm", x + linear(f"blk.{block}.ffn_down", y))
    return x


def vector(tensors: dict[str, np.ndarray], text: str, pooling: str) -> np.ndarray:
    """What a text of words should become, of length 1."""
    rows = hidden(tensors, [CLS, *map(word_id, text.split()), SEP])
    pooled = {"mean": rows.mean(0), "cls": rows[0], "last": rows[-1]}[pooling]
    return pooled / np.linalg.norm(pooled)


def score(tensors: dict[str, np.ndarray], query: str, document: str) -> float:
    """What a document should get for a query, 0 to 1: as llama.cpp puts such a pair, [CLS] query [SEP] document."""
    rows = hidden(tensors, [CLS, *map(word_id, query.split()), SEP, *map(word_id, document.split())])
    inner = np.tanh(tensors["cls.weight"] @ rows[0] + tensors["cls.bias"])
    return float(1 / (1 + np.exp(-(tensors["cls.output.weight"] @ inner + tensors["cls.output.bias"])[0])))
