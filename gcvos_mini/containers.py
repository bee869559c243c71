"""Whether a video file ends before its container does: a copy that broke off, a full card.

FFmpeg reads such a file to its end and says nothing. What counts is how long the container's outer
parts say they are, not how many frames: a clip that was trimmed has the right lengths.
"""

import os
from collections.abc import Iterator
from pathlib import Path

BOXES = (  # of MP4 and MOV, as they lie in the file itself
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"free", b"skip",
    b"wide", b"uuid", b"meta", b"udta", b"emsg", b"prft", b"pdin",
)  # fmt: skip
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"  # of WebM and Matroska


def ends_early(path: Path | str) -> bool:
    """Whether the container of a file goes on behind its end; False where that cannot be known."""
    with Path(path).open("rb") as file:
        start = file.read(377)
        length = os.fstat(file.fileno()).st_size
        file.seek(0)
        if start[4:8] in BOXES:
            return any(end > length for end in box_ends(file, length))
        if start[:4] == b"\x1a\x45\xdf\xa3":
            return any(end > length for end in element_ends(file, length))
        if start[:4] == b"RIFF":
            return any(end > length for end in riff_ends(file, length))
        if start[:4] == b"GIF8":
            return not has_gif_end(file)
        for packet, sync in ((188, 0), (192, 4)):  # an MPEG transport stream, of equal packets
            if len(start) > sync + packet and {start[sync], start[sync + packet]} == {0x47}:
                return length % packet > 0
    return False


def box_ends(file, length: int) -> Iterator[int]:
    """Where each outermost box of an MP4 ends. Anything else that follows ends the search."""
    at = 0
    while at < length:
        file.seek(at)
        header = file.read(16)
        if header[4:8] not in BOXES:
            if len(header) < 8 and header.strip(b"\0"):
                yield length + 1  # in the middle of a header
            return
        size = int.from_bytes(header[:4])
        if size == 1:
            size = int.from_bytes(header[8:16])
        if size < 8:  # 0: to the end of the file
            return
        at += size
        yield at


def element_ends(file, length: int) -> Iterator[int]:
    """Where each element of a WebM or Matroska file ends, in a recording that does not say how
    long it is; else where the whole of it ends."""
    at = 0
    while at < length:
        file.seek(at)
        header = file.read(12)
        name = 8 - header[0].bit_length() + 1  # bytes; how many zeros lead says it
        if name > 4:
            return
        if len(header) <= name:
            yield length + 1
            return
        wide = 8 - header[name].bit_length() + 1
        if wide > 8:
            return
        size = int.from_bytes(header[name : name + wide]) & ((1 << 7 * wide) - 1)
        at += name + wide
        if size == (1 << 7 * wide) - 1 and header[:name] in (SEGMENT, CLUSTER):
            continue  # unknown: its parts follow
        at += size
        yield at


def riff_ends(file, length: int) -> Iterator[int]:
    """Where each outermost part of an AVI or WebP file ends."""
    at = 0
    while at < length:
        file.seek(at)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return
        at += 8 + int.from_bytes(header[4:8], "little")
        yield at
        at += at % 2


def has_gif_end(file) -> bool:
    """Whether a GIF's blocks go on to the one that ends it."""

    def skip_colours(flags):
        if flags & 0x80:
            file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)

    skip_colours(file.read(13)[10])
    while kind := file.read(1):
        if kind == b";":
            return True
        if kind == b",":
            skip_colours(file.read(9).ljust(9, b"\0")[8])
        file.seek(1, os.SEEK_CUR)  # what the block is of, or the width of its codes
        while size := file.read(1):
            if size == b"\0":
                break
            file.seek(size[0], os.SEEK_CUR)
    return False
