"""A Llama of 350 million parameters with random weights in Q4_1, with the vocabulary of another GGUF. For speed and memory only: it talks nonsense.

usage: llm_model.py VOCABULARY.gguf     makes it in the cache, once, and prints its path

Standard library only. GGUF 3 is written by hand: header, metadata (that of the tokenizer copied as it is), tensor table, tensors.
"""

import hashlib
import os
import pathlib
import random
import struct
import sys

LAYERS, WIDTH, HEADS, KV_HEADS, INNER, CONTEXT = 24, 1024, 16, 4, 3072, 8192
HEAD_WIDTH = WIDTH // HEADS
Q4_1, F32 = 3, 0                     # tensor types
FILE_TYPE_Q4_1 = 3
BLOCK, BLOCK_BYTES = 32, 20          # values and bytes of a block of Q4_1: scale and least value in half precision, then nibbles
STEP = 0.0043                        # of the nibbles: 16 even values have a deviation of 4.6 steps, here 0.02
ALIGNMENT = 32
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


class Metadata:
    """The metadata of a GGUF file, key by key, as bytes."""

    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        magic, version, _, count = struct.unpack_from("<4sIQQ", self.data)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: expected GGUF 2 or 3, got {magic!r} {version}")
        self.at = 24
        self.entries = {}
        for _ in range(count):
            begin = self.at
            key = self.string()
            (kind,) = self.numbers("<I")
            self.skip(kind)
            self.entries[key] = self.data[begin:self.at]

    def numbers(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def string(self):
        (size,) = self.numbers("<Q")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def skip(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            inner, count = self.numbers("<IQ")
            if inner in SIZES:
                self.at += SIZES[inner] * count
            else:
                for _ in range(count):
                    self.skip(inner)
        else:
            self.at += SIZES[kind]

    def vocabulary(self):
        """How many tokens there are."""
        entry = self.entries["tokenizer.ggml.tokens"]
        return struct.unpack_from("<Q", entry, len(text("tokenizer.ggml.tokens")) + 8)[0]


def entry(key, kind, value):
    packed = text(value) if kind == STRING else struct.pack("<I" if kind == UINT32 else "<f", value)
    return text(key) + struct.pack("<I", kind) + packed


def shape_entries(vocabulary):
    numbers = {"block_count": LAYERS, "context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": INNER,
               "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "rope.dimension_count": HEAD_WIDTH, "vocab_size": vocabulary}
    return [entry("general.architecture", STRING, "llama"), entry("general.name", STRING, "random weights"),
            entry("general.file_type", UINT32, FILE_TYPE_Q4_1), entry("general.quantization_version", UINT32, 2),
            *(entry(f"llama.{name}", UINT32, value) for name, value in numbers.items()),
            entry("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5), entry("llama.rope.freq_base", FLOAT32, 100000.0)]


def tensors(vocabulary):
    """(name, row length first, type) of each; without an output matrix the embedding is used again."""
    keys = KV_HEADS * HEAD_WIDTH
    yield "token_embd.weight", (WIDTH, vocabulary), Q4_1
    for i in range(LAYERS):
        block = f"blk.{i}."
        yield block + "attn_norm.weight", (WIDTH,), F32
        yield block + "attn_q.weight", (WIDTH, WIDTH), Q4_1
        yield block + "attn_k.weight", (WIDTH, keys), Q4_1
        yield block + "attn_v.weight", (WIDTH, keys), Q4_1
        yield block + "attn_output.weight", (WIDTH, WIDTH), Q4_1
        yield block + "ffn_norm.weight", (WIDTH,), F32
        yield block + "ffn_gate.weight", (WIDTH, INNER), Q4_1
        yield block + "ffn_up.weight", (WIDTH, INNER), Q4_1
        yield block + "ffn_down.weight", (INNER, WIDTH), Q4_1
    yield "output_norm.weight", (WIDTH,), F32


def values_in(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def bytes_of(shape, kind):
    return values_in(shape) * 4 if kind == F32 else values_in(shape) // BLOCK * BLOCK_BYTES


def content(shape, kind, rng):
    if kind == F32:
        return struct.pack("<f", 1.0) * values_in(shape)
    blocks = values_in(shape) // BLOCK
    data = bytearray(struct.pack("<ee", STEP, -7.5 * STEP) + bytes(BLOCK // 2)) * blocks
    nibbles = rng.randbytes(blocks * (BLOCK // 2))
    for i in range(BLOCK // 2):
        data[4 + i::BLOCK_BYTES] = nibbles[i::BLOCK // 2]
    return data


def padding(size):
    return -size % ALIGNMENT


def write(path, source):
    metadata = Metadata(source)
    vocabulary = metadata.vocabulary()
    entries = shape_entries(vocabulary) + [data for key, data in metadata.entries.items() if key.startswith("tokenizer.")]
    listed = list(tensors(vocabulary))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(listed), len(entries)) + b"".join(entries)
    offset = 0
    for name, shape, kind in listed:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += bytes_of(shape, kind) + padding(bytes_of(shape, kind))
    rng = random.Random(1)
    with open(path, "wb") as f:
        f.write(head + bytes(padding(len(head))))
        for _, shape, kind in listed:
            data = content(shape, kind, rng)
            f.write(data)
            f.write(bytes(padding(len(data))))


def cached(source):
    """The model's path in the cache, made the first time (about ten seconds)."""
    cache = pathlib.Path(os.environ.get("EVENKEEL_CACHE") or pathlib.Path.home() / ".cache" / "evenkeel")
    key = hashlib.sha256(pathlib.Path(__file__).read_bytes() + str(pathlib.Path(source).stat().st_size).encode()).hexdigest()[:8]
    folder = cache / f"bench-llama-350m-{key}"
    path = folder / "model.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{os.getpid()}.part"
        try:
            write(unfinished, source)
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    print(cached(sys.argv[1]))
