"""Fetch archives, going on where a download broke off, and unpack them whole or not at all.

    DIR/NAME.zip             an archive of archives.toml, kept; it may be removed
    DIR/NAME.zip.part        what has come of it; the next run asks the server for the rest
    DIR/NAME.zip.sha256      its SHA-256, where archives.toml knows none, as sha256sum writes it
    DIR/.SET.unpacking       a data set that is being unpacked; DIR/SET appears when it is whole

Whatever goes wrong raises BadInput with the file or the URL, and the fix.
"""

import os
import shutil
import stat
import sys
import time
import tomllib
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import pooch
import requests  # pooch's own dependency
from tqdm import tqdm

from gcvos_mini.commands import python
from gcvos_mini.errors import BadInput

MANIFEST = Path(__file__).with_name("archives.toml")
WAITS = [1, 4, 15]  # seconds before each further try that a mirror gets while nothing comes
TIMEOUT = 60  # seconds without an answer
CHUNK = 1 << 16  # bytes; no more than this is lost when a run is killed

pooch.get_logger().setLevel("WARNING")  # its news are told here, in one line each


def archives(files):
    """The archives of these names, as archives.toml describes them."""
    manifest = tomllib.loads(MANIFEST.read_text())
    return [{"file": file} | manifest[file] for file in files]


def names(archive):
    """The file names under which an archive is known: ours, and those of its URLs."""
    return [archive["file"], *(url.rsplit("/", 1)[-1] for url in archive["urls"])]


def check_offline(files, offline):
    """Raise BadInput where a file on disk is none of the archives that are wanted."""
    known = list(dict.fromkeys(name for archive in archives(files) for name in names(archive)))
    for path in offline:
        if not path.is_file():
            raise BadInput(f"{path}: no such file; check the path")
        if path.name not in known:
            raise BadInput(f"{path}: not wanted here; give it the name of {' or '.join(known)}")


def install(files, target, place, parts, offline=(), dry_run=False):
    """Make the data set `target`, a folder, from archives; a folder that is there is left alone.

    place: maps the path of an archive's member to its path in the data set, or to None.
    parts: folders that the data set must have. offline: archives on disk (see check_offline).
    dry_run: only print what would be fetched. Raises BadInput.
    """
    if target.exists() and not dry_run:
        check_parts(target, target, parts)
        print(f"{target} is there already: nothing to do")
        return
    wanted = archives(files)
    for archive in wanted:
        print(describe(archive, target))
    if dry_run:
        return
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [obtain(archive, folder, offline) for archive in wanted]
        sums = [check_archive(archive, path, folder) for archive, path in zip(wanted, paths)]
        unpack(paths, target, place, parts)
        for archive, digest in zip(wanted, sums):
            keep_sum(archive, digest, folder)
    except OSError as error:  # no space left, no permission
        raise BadInput(f"{target}: {error}; mend that and run again") from None
    print(f"{target} is complete; may be removed now: {', '.join(map(str, paths))}")


def describe(archive, target):
    """What a dry run says of an archive: where it is, its size and sum, terms, where it goes."""
    size = f"about {archive['about']}, exact size unknown" if "about" in archive else "unknown"
    if "bytes" in archive:
        size = f"{readable(archive['bytes'])} ({archive['bytes']:,} bytes)"
    lines = [
        f"{archive['file']} -> {target}",
        *(f"  from    {url}" for url in archive["urls"] or [archive["by_hand"]]),
        f"  size    {size}",
        f"  sha256  {archive.get('sha256', 'unknown')}",
        f"  terms   {archive['terms']}",
        f"  home    {archive['home']}",
    ]
    return "\n".join(lines)


def readable(count):
    """A number of bytes as a person reads it, such as 794.2 MiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def check_space(folder, need):
    """Raise BadInput where the disk of a folder has less than `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise BadInput(f"{folder}: {readable(need)} needed, {readable(free)} free; make room")


def check_parts(folder, source, parts):
    """Raise BadInput, naming the source, where a data set lacks one of its folders."""
    for part in parts:
        if not (folder / part).is_dir():
            raise BadInput(f"{source}: no folder {part} in it; remove it and run again")


# The archive


def obtain(archive, folder, offline):
    """Path of an archive: one of `offline`, the one in the folder, or downloaded to there."""
    given = [file for file in offline if file.name in names(archive)]
    path = given[0] if given else folder / archive["file"]
    if not path.exists():
        download(archive, path)
    return path


def known_sum(archive, folder):
    """(SHA-256, who says so): of archives.toml, or kept when a first archive was unpacked."""
    kept = folder / f"{archive['file']}.sha256"
    if "sha256" in archive:
        return archive["sha256"], MANIFEST.name
    return (kept.read_text().split()[0], kept) if kept.exists() else (None, None)


def keep_sum(archive, digest, folder):
    """Keep the sum of an archive for which none was known; a later one is held against it."""
    kept = folder / f"{archive['file']}.sha256"
    if known_sum(archive, folder) == (None, None):
        kept.write_text(f"{digest}  {archive['file']}\n")
        print(f"{archive['file']} has the SHA-256 {digest}, kept in {kept}")


def check_archive(archive, path, folder):
    """SHA-256 of an archive on disk. Raises BadInput where it or the size is not as known."""
    size, digest = path.stat().st_size, pooch.file_hash(str(path))
    if size != archive.get("bytes", size):
        raise BadInput(f"{path}: {size} bytes, not {archive['bytes']}; remove it and run again")
    known, source = known_sum(archive, folder)
    if digest != (known or digest):
        raise BadInput(f"{path}: SHA-256 is {digest}, {known} in {source}; remove the wrong one")
    return digest


def download(archive, path):
    """Download an archive from the first of its mirrors that gives all of it."""
    fetcher = partial(resume, part=path.with_name(f"{path.name}.part"), size=archive.get("bytes"))
    known, source = known_sum(archive, path.parent)
    failures = []
    for url in archive["urls"]:
        if failures:
            print(f"{failures[-1]}; the next mirror is tried")
        try:
            pooch.retrieve(url, known, path.name, path.parent, downloader=fetcher)
            return
        except BadInput as error:
            failures.append(str(error))
        except ValueError:  # from pooch, which has removed the file
            failures.append(f"{url}: {path.name} came with another SHA-256 than in {source}")
    by_hand = archive.get("by_hand", f"get {path.name} from {archive['home']}")
    again = f"save it as {path} and run again: {python(*sys.argv)}"
    raise BadInput("; ".join([*failures, f"by hand: {by_hand}; {again}"]))


def resume(url, output, _, part, size):
    """Downloader for pooch: the rest of `part` comes from the URL, then it becomes `output`."""
    os.remove(output)  # pooch's empty file: a run that is killed leaves the part and no litter
    waits, longest = list(WAITS), length(part)
    while True:
        try:
            append(url, part, size)
            break
        except requests.RequestException as error:
            if length(part) > longest:  # as long as it gets on, it goes on
                waits, longest = list(WAITS), length(part)
            if not waits:
                have = f"{part.name} has {length(part)} bytes"
                raise BadInput(f"{url}: {have}, {error}; run again to go on") from None
            time.sleep(waits.pop(0))
    os.replace(part, output)


def length(path):
    """Bytes in a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def append(url, part, size):
    """Ask once for what `part` lacks and write it there.

    size: bytes of the whole file, or None. Raises requests.RequestException where another try may
    help, BadInput where it cannot.
    """
    have = length(part)
    if have == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        start, total = span(answer)
        if total is not None and total != (size or total):
            raise BadInput(f"{url}: {total} bytes, {part.stem} should have {size}; a changed file?")
        if answer.status_code == 416 and have == total:
            return  # killed after the last byte
        if answer.status_code in (206, 416) and start != have:
            part.unlink()
            raise requests.RequestException("no continuation of it was sent; start again")
        if 400 <= answer.status_code < 500:
            raise BadInput(f"{url}: {answer.status_code} {answer.reason}")
        if answer.status_code not in (200, 206):
            raise requests.RequestException(f"{answer.status_code} {answer.reason}")
        total = total or size
        check_space(part.parent, (total or 0) - start)
        write(answer, part, start, total)
    if total is not None and length(part) != total:
        raise requests.RequestException(f"{total} were announced")


def span(answer):
    """(first byte, bytes of the whole file) that a server's answer is about; None = not told."""
    told = answer.headers.get("Content-Range", "").removeprefix("bytes ")  # 100-199/200 or */200
    if answer.status_code in (206, 416) and "/" in told:
        sent, total = told.split("/")
        first = sent.split("-")[0]
        return int(first) if first.isdigit() else None, int(total) if total.isdigit() else None
    if answer.status_code == 200:  # from its start, even if the rest was asked for
        total = answer.headers.get("Content-Length")
        return 0, int(total) if total else None
    return None, None


def write(answer, part, start, total):
    """Write an answer's body to `part` from byte `start` on, with a progress bar."""
    bar = tqdm(desc=part.stem, initial=start, total=total, unit="B", unit_scale=True, disable=None)
    with open(part, "ab" if start else "wb") as file, bar:
        for chunk in answer.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


# Its content


def unpack(paths, target, place, parts):
    """Unpack archives into the folder `target`, which appears when all of it is there."""
    work = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
    try:
        for path in paths:
            extract(path, work, place)
        check_parts(work, " and ".join(map(str, paths)), parts)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def extract(path, work, place):
    """Write a zip file's members where `place` puts them in `work`; every CRC is checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [(info, place(inside(path, info))) for info in archive.infolist()]
            members = [(info, goal) for info, goal in members if goal and not info.is_dir()]
            check_space(work.parent, sum(info.file_size for info, _ in members))
            for info, goal in tqdm(members, f"unpack {path.name}", unit="file", disable=None):
                (work / goal).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(work / goal, "xb") as file:
                    shutil.copyfileobj(source, file)
    except FileExistsError:
        raise BadInput(f"{path}: two of its files would be {goal}; get another copy") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{path}: not a whole zip file ({error}); remove it, run again") from None


def inside(path, info):
    """A member's path. Raises BadInput on one that could be written outside of the target."""
    member = PureWindowsPath(info.filename)  # takes / and \\ apart, and knows drives
    link = stat.S_ISLNK(info.external_attr >> 16)
    if member.drive or member.root or ".." in member.parts or link:
        raise BadInput(f"{path}: member {info.filename!r} leads elsewhere; do not use this file")
    return PurePosixPath(*member.parts)


def is_litter(path):
    """Whether a member is something that macOS added: __MACOSX/..., ._name, .DS_Store."""
    return "__MACOSX" in path.parts or path.name.startswith(".")
