"""Pixels of a PNG picture, read by the format's own rules and not by the library that wrote it: 8 bits a channel, RGB or RGBA, not interlaced."""

from __future__ import annotations

import struct
import zlib

import numpy as np

MAGIC = b"\x89PNG\r\n\x1a\n"


def chunks_of(data: bytes):
    """(type, content) of each chunk; checksums must be right and nothing may follow the last."""
    assert data[:8] == MAGIC, data[:8]
    at, last = 8, b""
    while at < len(data):
        length, last = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(last + content)
        yield last, content
        at += 12 + length
    assert last == b"IEND"


def unfiltered(kind: int, row: np.ndarray, above: np.ndarray) -> np.ndarray:
    """A line's pixels (n x channels) of what was stored, and of the line above."""
    if kind == 0:
        return row
    if kind == 1:
        return np.cumsum(row, axis=0, dtype=np.uint8)
    if kind == 2:
        return row + above
    channels = row.shape[1]
    stored, up, out = row.ravel().tolist(), above.ravel().tolist(), []
    for i, value in enumerate(stored):
        a = out[i - channels] if i >= channels else 0
        b = up[i]
        if kind == 3:
            out.append((value + (a + b) // 2) & 255)
            continue
        assert kind == 4, kind
        c = up[i - channels] if i >= channels else 0
        pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        out.append((value + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255)
    return np.array(out, dtype=np.uint8).reshape(row.shape)


def read_png(data: bytes) -> np.ndarray:
    """Height x width x 3."""
    chunks = list(chunks_of(data))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert chunks[0][0] == b"IHDR" and depth == 8 and colour in (2, 6) and not interlaced
    channels = 3 if colour == 2 else 4
    raw = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    lines = np.frombuffer(raw, dtype=np.uint8).reshape(height, 1 + width * channels)
    picture = np.zeros((height, width, channels), dtype=np.uint8)
    above = np.zeros((width, channels), dtype=np.uint8)
    for y, line in enumerate(lines):
        picture[y] = above = unfiltered(int(line[0]), line[1:].reshape(width, channels), above)
    return picture[:, :, :3]
