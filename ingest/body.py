"""Reading a request body, and decompressing it: both bounded.

A body is refused as soon as it is over its limit, before the rest of it is read or unpacked, so a
small compressed body can't become a large one in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import falcon
import zstandard
from shared.http import ApiError

Unpack = Callable[[bytes, int], bytes]
"""A body and its limit in bytes to what it holds."""
MAX_MEMBERS = 1_000
"""Most gzip members, or zstd frames, in one body: each costs time, even an empty one."""
MIN_WINDOW_BYTES = 8 * 1024 * 1024
"""The window that every HTTP zstd decoder must allow (RFC 9659)."""
LARGE_BYTES = 1024 * 1024
LARGE_PACKED_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024


class Body(NamedTuple):
    """A body as it came, and what undoes its Content-Encoding.

    `unpack` takes the limit as well, in bytes. It raises ApiError: 413 over the limit, 400 for
    damaged compression.
    """

    raw: bytes
    unpack: Unpack

    @property
    def is_large(self) -> bool:
        """Whether to go through it takes longer than other requests should wait."""
        return len(self.raw) > (LARGE_BYTES if self.unpack is _plain else LARGE_PACKED_BYTES)


async def read_body(request: Any, limit: int) -> Body:
    """The request's body, of `limit` bytes at the most.

    Raises ApiError: 413 over the limit, 415 for an unknown Content-Encoding.
    """
    encoding = request.get_header("Content-Encoding")
    unpack = _plain if encoding is None else _unpacker(encoding)
    length = request.content_length
    if length is None:
        raw = await _read_chunks(request, limit)
    elif length > limit:
        raise _too_large(limit)
    else:
        # falcon's stream ends by itself after so many bytes.
        raw = await request.stream.read()
        if len(raw) < length:
            raise _cut_short(len(raw), length)
    return Body(raw, unpack)


def _plain(raw: bytes, limit: int) -> bytes:
    return raw


def _unpacker(encoding: str) -> Unpack:
    unpack = UNPACK.get(encoding.strip().lower())
    if unpack is None:
        raise ApiError(
            falcon.HTTP_415,
            "unsupported_media_type",
            f"Content-Encoding {encoding!r} is not accepted; accepted are {', '.join(UNPACK)}",
        )
    return unpack


async def _read_chunks(request: Any, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    # Not by iterating: it notes the end only after its last piece, and a refusal would wait for it.
    while not request.stream.eof:
        chunk = await request.stream.read(_CHUNK_BYTES)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def gunzip(raw: bytes, limit: int) -> bytes:
    """Every gzip member of `raw`, unpacked to `limit` bytes at the most. Raises ApiError."""
    parts: list[bytes] = []
    left = limit
    unzip = None
    members = 0
    try:
        for start in range(0, len(raw), _CHUNK_BYTES):
            piece = raw[start : start + _CHUNK_BYTES]
            while piece:
                if unzip is None:
                    unzip = zlib.decompressobj(wbits=31)
                    members = _count_member("gzip", members)
                parts.append(unzip.decompress(piece, left + 1))
                left -= len(parts[-1])
                if left < 0:
                    raise _too_large(limit)
                piece = unzip.unused_data
                if unzip.eof:
                    unzip = None
    except zlib.error as error:
        raise _damaged("gzip", str(error)) from None
    if unzip is not None:
        raise _damaged("gzip", "it is cut short")
    return b"".join(parts)


def unzstd(raw: bytes, limit: int) -> bytes:
    """Every zstd frame of `raw`, unpacked to `limit` bytes at the most. Raises ApiError."""
    unpack = zstandard.ZstdDecompressor(max_window_size=max(limit, MIN_WINDOW_BYTES))
    parts: list[bytes] = []
    left = limit
    try:
        reader = unpack.stream_reader(raw, read_across_frames=True)
        while part := reader.read(min(left + 1, 1024 * 1024)):
            parts.append(part)
            left -= len(part)
            if left < 0:
                raise _too_large(limit)
        if raw and zstandard.frame_content_size(raw) != limit - left:
            _require_whole(unpack, raw)
    except zstandard.ZstdError as error:
        raise _damaged("zstd", str(error)) from None
    return b"".join(parts)


UNPACK: dict[str, Unpack] = {"gzip": gunzip, "zstd": unzstd, "identity": _plain}
"""What undoes each Content-Encoding."""


def _require_whole(unpack: zstandard.ZstdDecompressor, raw: bytes) -> None:
    """Raise where the last frame of `raw`, known to be within the limit, has no end.

    The reader above ends quietly there; only a frame that says its size can be told by it.
    """
    frame = None
    frames = 0
    for start in range(0, len(raw), _CHUNK_BYTES):
        piece = raw[start : start + _CHUNK_BYTES]
        while piece:
            if frame is None:
                frame = unpack.decompressobj()
                frames = _count_member("zstd", frames)
            frame.decompress(piece)
            piece = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise _damaged("zstd", "it is cut short")


def _count_member(encoding: str, members: int) -> int:
    if members == MAX_MEMBERS:
        raise _damaged(encoding, f"it has more than {MAX_MEMBERS} parts")
    return members + 1


def _cut_short(size: int, length: int) -> ApiError:
    return ApiError(
        falcon.HTTP_400, "invalid_request", f"the body ended after {size} of {length} bytes"
    )


def _too_large(limit: int) -> ApiError:
    return ApiError(
        falcon.HTTP_413,
        "payload_too_large",
        f"the body is over the limit of {limit} bytes after decompression; send smaller batches",
    )


def _damaged(encoding: str, reason: str) -> ApiError:
    return ApiError(
        falcon.HTTP_400, "invalid_request", f"the body is not valid {encoding}: {reason}"
    )
