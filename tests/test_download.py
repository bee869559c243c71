"""The downloading scripts, against a server that misbehaves on demand."""

import functools
import hashlib
import io
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gcvos_mini.davis import load_split
from gcvos_mini.errors import BadInput

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "data_scripts"))
import download_davis  # noqa: E402
import download_stills  # noqa: E402
import fetch  # noqa: E402

CONTENT = np.random.default_rng(0).bytes(100_000)  # of an archive that is not looked into


class Server(ThreadingHTTPServer):
    """Serves `files` by path, with Range; `faults` tells how not to. `log`: (path, range, sent)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.log = {}, {}, []

    def handle_error(self, *_):
        """A client that was killed is no news."""

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Faults: drop (bytes, once), cut (bytes, always), announce (bytes), ignore_range,
    shift (bytes), no_length (nor total), fail (a number of 500s), slow (seconds per 1,000 bytes).
    """

    def log_message(self, *_):
        pass

    def do_GET(self):
        faults, path = self.server.faults, self.path.strip("/")
        asked = None if "ignore_range" in faults else self.headers.get("Range")
        content = self.server.files.get(path)
        entry = [path, self.headers.get("Range"), 0]
        self.server.log.append(entry)
        if faults.get("fail"):
            faults["fail"] -= 1
            return self.send_error(500)
        if content is None or len(self.server.log) > 20:  # rather than for ever
            return self.send_error(404)
        total = len(content)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            return self.end_headers()
        start = max(0, start - faults.get("shift", 0))
        self.send_response(206 if asked else 200)
        if asked:
            told = "*" if "no_length" in faults else total
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{told}")
        if "no_length" not in faults:
            self.send_header("Content-Length", faults.get("announce", total - start))
        self.end_headers()
        end = min(total, start + faults.pop("drop", total), start + faults.get("cut", total))
        for at in range(start, end, 1000):
            entry[2] += min(end, at + 1000) - at
            self.wfile.write(content[at : min(end, at + 1000)])
            time.sleep(faults.get("slow", 0))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "WAITS", [0.01, 0.01])
    monkeypatch.setattr(fetch, "CHUNK", 1_000)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A function that writes archives.toml: manifest({file: {key: value}})."""
    path = tmp_path / "archives.toml"

    def write(archives):
        lines = []
        for file, entry in archives.items():
            entry = {"urls": [], "terms": "none", "home": "http://home"} | entry
            lines += [f'["{file}"]', *(f"{key} = {value!r}" for key, value in entry.items())]
        path.write_text("\n".join(lines))
        return path

    monkeypatch.setattr(fetch, "MANIFEST", path)
    return write


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zipped(members):
    """A zip file of {name: bytes}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def picture(mode):
    """A picture (20, 30) as JPEG, or a mask with one object as PNG."""
    buffer, mask = io.BytesIO(), np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 255
    if mode == "jpg":
        Image.fromarray(mask).convert("RGB").save(buffer, "JPEG")
    else:
        Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def download(server, folder, files=("a.zip",), **entry):
    """Download the archive a.zip, from these paths of the server, into a folder."""
    archive = {"file": "a.zip", "urls": [server.url(file) for file in files], "home": "http://home"}
    fetch.download(archive | entry, folder / "a.zip")


# Downloads


def test_whole_file(server, tmp_path):
    server.files["a.zip"] = CONTENT
    download(server, tmp_path, bytes=len(CONTENT), sha256=sha256(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["a.zip"]  # no part is left
    assert server.log == [["a.zip", None, len(CONTENT)]]


@pytest.mark.parametrize("known", [True, False])
def test_dropped_connection_goes_on(server, tmp_path, known):
    server.files["a.zip"] = CONTENT
    server.faults["drop"] = 30_000
    entry = {"bytes": len(CONTENT), "sha256": sha256(CONTENT)} if known else {}
    download(server, tmp_path, **entry)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.log == [["a.zip", None, 30_000], ["a.zip", "bytes=30000-", 70_000]]


def test_a_slow_climb_is_not_given_up(server, tmp_path):
    """Every try breaks off, but each brings something: more tries than WAITS has."""
    server.files["a.zip"] = CONTENT
    server.faults["cut"] = 15_000
    download(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [sent for _, _, sent in server.log] == [15_000] * 6 + [10_000]


def test_part_of_an_earlier_run_is_continued(server, tmp_path):
    server.files["a.zip"] = CONTENT
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:99_000])
    download(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.log == [["a.zip", "bytes=99000-", 1_000]]


@pytest.mark.parametrize("known", [True, False])
def test_whole_part_of_an_earlier_run(server, tmp_path, known):
    server.files["a.zip"] = CONTENT
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    download(server, tmp_path, **({"bytes": len(CONTENT)} if known else {}))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.log == ([] if known else [["a.zip", "bytes=100000-", 0]])


SERVERS = {
    "sends a whole file": (CONTENT[:5_000], {"ignore_range": True}),
    "sends other bytes": (CONTENT[:5_000], {"shift": 10, "no_length": True}),
    "has a shorter file": (2 * CONTENT, {}),
    "tells no length": (b"", {"no_length": True}),
}


@pytest.mark.parametrize("part, faults", SERVERS.values(), ids=SERVERS)
def test_server_that_does_not_continue(server, tmp_path, part, faults):
    """A whole file or other bytes than asked for must not be appended to the part."""
    server.files["a.zip"] = CONTENT
    server.faults.update(faults)
    (tmp_path / "a.zip.part").write_bytes(part)
    download(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("faults", [{"cut": 30_000}, {"announce": 100_500}])
def test_less_than_announced(server, tmp_path, faults):
    server.files["a.zip"] = CONTENT
    server.faults.update(faults | {"ignore_range": True})
    with pytest.raises(BadInput) as error:
        download(server, tmp_path)
    sent = 30_000 if "cut" in faults else 100_000
    assert f"{server.url('a.zip')}: a.zip.part has {sent} bytes" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(server.log) == 3  # a first, and one after each of WAITS
    assert os.listdir(tmp_path) == ["a.zip.part"]  # kept


@pytest.mark.parametrize("no_length", [True, False])
def test_other_length_than_in_the_manifest(server, tmp_path, no_length):
    server.files["a.zip"] = CONTENT
    server.faults.update({"no_length": True} if no_length else {})
    with pytest.raises(BadInput, match=r"a\.zip.*(100000|99999)") as error:
        download(server, tmp_path, bytes=99_999)
    assert server.url("a.zip") in str(error.value)
    assert not (tmp_path / "a.zip").exists()


def test_wrong_sum_removes_the_part(server, tmp_path):
    """A part of another file is no base for a later run."""
    server.files["a.zip"] = CONTENT
    (tmp_path / "a.zip.part").write_bytes(b"something else")
    with pytest.raises(BadInput, match="a.zip came with another SHA-256 than in archives.toml"):
        download(server, tmp_path, sha256=sha256(CONTENT))
    assert os.listdir(tmp_path) == []
    download(server, tmp_path, sha256=sha256(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_mirrors_in_order(server, tmp_path, capsys):
    server.files |= {"second": CONTENT, "third": CONTENT}
    download(server, tmp_path, files=["first", "second", "third"])
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert [path for path, _, _ in server.log] == ["first", "second"]  # a 404 is asked for once
    assert "first: 404 Not Found; the next mirror is tried" in capsys.readouterr().out


def test_no_mirror_works(server, tmp_path):
    with pytest.raises(BadInput) as error:
        download(server, tmp_path, files=["first", "second"])
    for said in (server.url("first"), server.url("second"), "http://home", "run again: "):
        assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_server_error_is_tried_again(server, tmp_path):
    server.files["a.zip"] = CONTENT
    server.faults["fail"] = 2
    download(server, tmp_path)
    assert len(server.log) == 3


@pytest.mark.parametrize("known", [True, False])
def test_full_disk_is_seen_before_the_download(server, tmp_path, monkeypatch, known):
    server.files["a.zip"] = CONTENT
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
    with pytest.raises(BadInput, match="97.66 KiB needed, 9 bytes free; make room"):
        download(server, tmp_path, **({"bytes": len(CONTENT)} if known else {}))
    assert os.listdir(tmp_path) == []


# Archives on disk


def place(path):
    """Everything below "top" of an archive."""
    return None if fetch.is_litter(path) else path.relative_to("top")


MEMBERS = {"top/images/1.jpg": b"image", "top/masks/1.png": b"mask"}


def install(folder, offline=(), **options):
    fetch.install(["a.zip"], folder / "set", place, ("images", "masks"), offline, **options)


def tree(folder):
    """{path: content} of all files, those with a leading dot too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_install(server, manifest, tmp_path, capsys):
    content = server.files["a.zip"] = zipped(MEMBERS)
    manifest({"a.zip": {"urls": [server.url("a.zip")]}})
    install(tmp_path / "data")
    assert tree(tmp_path / "data") == {
        "a.zip": content,
        "a.zip.sha256": f"{sha256(content)}  a.zip\n".encode(),  # as sha256sum -c reads it
        "set/images/1.jpg": b"image",
        "set/masks/1.png": b"mask",
    }
    assert sha256(content) in capsys.readouterr().out
    server.files.clear()
    install(tmp_path / "data")
    assert len(server.log) == 1
    assert "is there already: nothing to do" in capsys.readouterr().out


def test_target_that_is_not_whole(manifest, tmp_path):
    manifest({"a.zip": {}})
    (tmp_path / "set/images").mkdir(parents=True)
    with pytest.raises(BadInput, match="set: no folder masks in it; remove it and run again"):
        install(tmp_path)


@pytest.mark.parametrize("again", ["on disk", "on the server"])
def test_change_is_noticed(server, manifest, tmp_path, again):
    server.files["a.zip"] = zipped(MEMBERS)
    manifest({"a.zip": {"urls": [server.url("a.zip")]}})
    install(tmp_path)
    (tmp_path / "set").rename(tmp_path / "old")
    (tmp_path / "a.zip").unlink()
    changed = zipped(MEMBERS | {"top/images/2.jpg": b"new"})
    if again == "on disk":
        (tmp_path / "a.zip").write_bytes(changed)
    server.files["a.zip"] = changed
    with pytest.raises(BadInput, match=r"a\.zip.* SHA-256 .*a\.zip\.sha256"):
        install(tmp_path)
    assert not (tmp_path / "set").exists()


def test_bad_archive_is_not_remembered(server, manifest, tmp_path):
    """After an error page instead of the archive, the archive itself is welcome."""
    server.files["a.zip"] = b"<html>come back later</html>"
    manifest({"a.zip": {"urls": [server.url("a.zip")]}})
    with pytest.raises(BadInput, match=r"a\.zip: not a whole zip file .*; remove it, run again"):
        install(tmp_path)
    (tmp_path / "a.zip").unlink()
    server.files["a.zip"] = zipped(MEMBERS)
    install(tmp_path)


def test_offline(server, manifest, tmp_path):
    content = zipped(MEMBERS)
    entry = {"urls": [server.url("b.zip")], "bytes": len(content), "sha256": sha256(content)}
    manifest({"a.zip": entry})
    for name in ("a.zip", "b.zip"):  # ours, and as the URL has it
        file = tmp_path / name / name
        file.parent.mkdir()
        file.write_bytes(content)
        fetch.check_offline(["a.zip"], [file])
        install(tmp_path / f"from-{name}", [file])
        assert tree(tmp_path / f"from-{name}/set").keys() == {"images/1.jpg", "masks/1.png"}
    assert server.log == []
    for changed, complaint in [
        (content[:-1], f"{len(content) - 1} bytes, not {len(content)}"),
        (content[:-1] + b"?", "SHA-256 is .* in archives.toml"),
    ]:
        file.write_bytes(changed)
        with pytest.raises(BadInput, match=f"b.zip: {complaint}"):
            install(tmp_path / "changed", [file])
    with pytest.raises(BadInput, match="absent.zip: no such file"):
        fetch.check_offline(["a.zip"], [tmp_path / "absent.zip"])
    other = file.rename(tmp_path / "other.zip")
    with pytest.raises(BadInput, match="other.zip: not wanted .* name of a.zip or b.zip"):
        fetch.check_offline(["a.zip"], [other])


def test_dry_run(server, manifest, tmp_path, capsys):
    url = server.url("a.zip")
    manifest({"a.zip": {"urls": [url], "bytes": 832_766_765, "sha256": "e3d0"}})
    install(tmp_path / "data", dry_run=True)
    said = capsys.readouterr().out
    for part in (url, "794.2 MiB (832,766,765 bytes)", "e3d0", "terms   none", "data/set"):
        assert part in said
    assert server.log == [] and not (tmp_path / "data").exists()


# Unpacking


def unpack(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    fetch.unpack([path], tmp_path / "inner/set", place, ("images", "masks"))


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "member", ["top/../../../evil", "/evil", "..\\..\\evil", "C:\\evil", "\\evil", link("top/evil")]
)
def test_member_that_leads_elsewhere(tmp_path, member):
    (tmp_path / "inner").mkdir()
    with pytest.raises(BadInput, match=r"a\.zip: member '.*evil' leads elsewhere"):
        unpack(tmp_path, zipped(MEMBERS | {member: b"/etc"}))
    assert tree(tmp_path).keys() == {"a.zip"}


def damage(content, share):
    """A zip file with a byte changed in the data of a member."""
    at = content.index(b"image") + share
    return content[:at] + b"?" + content[at + 1 :]


@pytest.mark.parametrize(
    "content, complaint",
    [
        (zipped(MEMBERS)[:-30], "not a whole zip file"),
        (zipped(MEMBERS)[:50], "not a whole zip file"),
        (damage(zipped({"top/x": b"image"} | MEMBERS), 2), "not a whole zip file .*CRC"),
        (zipped({"top/images/1.jpg": b""}), "no folder masks in it"),
    ],
)
def test_broken_archive_leaves_nothing(tmp_path, content, complaint):
    (tmp_path / "inner").mkdir()
    with pytest.raises(BadInput, match=rf"a\.zip: {complaint}"):
        unpack(tmp_path, content)
    assert list((tmp_path / "inner").iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_same_name_twice(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(BadInput, match="two of its files would be images/1.jpg"):
        unpack(tmp_path, zipped(MEMBERS | {"top/./images/1.jpg": b"other"}))


def test_stopped_while_unpacking(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()

    def stopped(source, file):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch.shutil, "copyfileobj", stopped)
        with pytest.raises(KeyboardInterrupt):
            unpack(tmp_path, zipped(MEMBERS))
    assert list((tmp_path / "inner").iterdir()) == []
    killed = tmp_path / "inner/.set.unpacking/images"  # what a kill -9 leaves
    killed.mkdir(parents=True)
    (killed / "1.jpg").write_bytes(b"half")
    unpack(tmp_path, zipped(MEMBERS))
    assert tree(tmp_path / "inner") == {"set/images/1.jpg": b"image", "set/masks/1.png": b"mask"}


def test_no_room_to_unpack(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=8))
    with pytest.raises(BadInput, match="9 bytes needed, 8 bytes free"):
        unpack(tmp_path, zipped(MEMBERS))


# The scripts


def run(script, path, *arguments):
    """Start a script with another manifest, as from the command line."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'data_scripts')!r}); "
        f"import fetch, {script} as script; fetch.MANIFEST = fetch.Path({str(path)!r}); "
        "fetch.CHUNK = 10_000; "
        "script.main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # A shell starts what it puts in the background (`make test &`) deaf to ^C, and so its children.
    hear = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=hear,
    )  # fmt: skip


def davis(resolutions, split):
    """An archive of DAVIS with two sequences of two frames; `split`: {file: text}."""
    members = {f"DAVIS/ImageSets/{file}": text for file, text in split.items()}
    for resolution in resolutions:
        for name in ("bear", "ant"):
            for t in ("00000", "00001"):
                members[f"DAVIS/JPEGImages/{resolution}/{name}/{t}.jpg"] = picture("jpg")
                members[f"DAVIS/Annotations/{resolution}/{name}/{t}.png"] = picture("png")
    litter = ["__MACOSX/DAVIS/JPEGImages/480p/bear/._00000.jpg", "DAVIS/JPEGImages/480p/._bear"]
    return zipped(members | dict.fromkeys(litter, b"?") | {"DAVIS/README": CONTENT})


LINES_2016 = {
    f"{r}/val.txt": "".join(
        f"/JPEGImages/{r}/{name}/{t}.jpg /Annotations/{r}/{name}/{t}.png\n"
        for name in ("bear", "ant")
        for t in ("00000", "00001")
    )
    for r in ("480p", "1080p")
}


@pytest.mark.parametrize(
    "chosen, resolution, archive, folder",
    [
        ("2016", "480p", "DAVIS-data.zip", "480p"),
        ("2016", "full", "DAVIS-data.zip", "1080p"),
        ("2017-trainval", "full", "DAVIS-2017-trainval-Full-Resolution.zip", "Full-Resolution"),
        ("2017-test-dev", "480p", "DAVIS-2017-test-dev-480p.zip", "480p"),
    ],
)
def test_davis_from_end_to_end(server, manifest, tmp_path, chosen, resolution, archive, folder):
    year, split = chosen[:4], "test-dev" if chosen.endswith("dev") else "val"
    splits = LINES_2016 if year == "2016" else {f"2017/{split}.txt": "bear\nant\n"}
    resolutions = ["480p", "1080p"] if year == "2016" else [folder]
    server.files[archive] = davis(resolutions, splits)
    manifest({archive: {"urls": [server.url(archive)]}})
    download_davis.download(chosen, tmp_path, resolution)
    target = tmp_path / f"DAVIS-{chosen}-{resolution}"
    sequences = load_split(target, int(year), split)
    assert [(s.name, len(s.frames), len(s.masks)) for s in sequences] == [
        ("bear", 2, 2),
        ("ant", 2, 2),
    ]
    assert [p.name for p in (target / "JPEGImages").iterdir()] == [folder]
    assert not [name for name in tree(target) if "._" in name or "README" in name]


def test_davis_passes_the_check(server, manifest, tmp_path):
    """As a user: the script, its exit status; what it prints next is run by test_commands."""
    content = server.files["a.zip"] = davis(["480p", "1080p"], LINES_2016)
    entry = {"urls": [server.url("a.zip")], "sha256": sha256(content), "bytes": len(content)}
    path = manifest({"DAVIS-data.zip": entry})
    out, error = run("download_davis", path, "--set", "2016", "--out", tmp_path).communicate()
    assert error == ""
    result = subprocess.run(
        [sys.executable, "data_scripts/check_dataset.py", tmp_path / "DAVIS-2016-480p"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "| bear | 2016 | 2 | 2 | 1 | 30x20 | 0 | 0 | 0 |" in result.stdout


def test_stills_from_end_to_end(server, manifest, tmp_path, capsys):
    from gcvos_mini.clips import find_stills

    jpg, png = picture("jpg"), picture("png")
    server.files |= {
        "msra.zip": zipped(
            {
                "MSRA10K_Imgs_GT/Imgs/1.jpg": jpg,
                "MSRA10K_Imgs_GT/Imgs/1.png": png,
                "MSRA10K_Imgs_GT/Readme.txt": b"?",
                "__MACOSX/MSRA10K_Imgs_GT/Imgs/._1.jpg": b"?",
            }
        ),
        "images.zip": zipped({"images/0001.jpg": jpg, "images/0002.jpg": jpg}),
        "masks.zip": zipped({"ground_truth_mask/0001.png": png, "ground_truth_mask/0002.png": png}),
    }
    manifest(
        {
            "MSRA10K_Imgs_GT.zip": {"urls": [server.url("msra.zip")]},
            "ECSSD-images.zip": {"urls": [server.url("images.zip")]},
            "ECSSD-ground_truth_mask.zip": {"urls": [server.url("masks.zip")]},
            "HKU-IS.zip": {"by_hand": "get it from http://drive"},
        }
    )
    download_stills.download(("MSRA10K", "ECSSD"), tmp_path)
    assert f" --data {tmp_path}/MSRA10K {tmp_path}/ECSSD " in capsys.readouterr().out
    hku = tmp_path / "HKU-IS.zip"
    with pytest.raises(BadInput, match="by hand: get it from http://drive; save it as .*HKU-IS.z"):
        download_stills.download(("HKU-IS",), tmp_path)
    hku.write_bytes(zipped({"HKU-IS/imgs/0004.png": png, "HKU-IS/gt/0004.png": png}))
    download_stills.download(("HKU-IS",), tmp_path, (hku,))
    for name, count in [("MSRA10K", 1), ("ECSSD", 2), ("HKU-IS", 1)]:
        assert len(find_stills(tmp_path / name)) == count
    assert tree(tmp_path / "MSRA10K").keys() == {"images/1.jpg", "masks/1.png"}


@pytest.mark.parametrize("how, status", [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_killed_and_started_again(server, manifest, tmp_path, how, status):
    content = server.files["a.zip"] = davis(["480p"], {"2017/val.txt": "bear\nant\n"})
    server.faults["slow"] = 0.2
    path = manifest({"DAVIS-2017-trainval-480p.zip": {"urls": [server.url("a.zip")]}})
    part = tmp_path / "data/DAVIS-2017-trainval-480p.zip.part"
    script = run("download_davis", path, "--set", "2017-trainval", "--out", tmp_path / "data")
    while not (part.exists() and part.stat().st_size):
        assert script.poll() is None, script.communicate()
        time.sleep(0.02)
    script.send_signal(how)
    _, error = script.communicate()
    assert script.returncode == status
    assert error == ("stopped\n" if how == signal.SIGINT else "")
    assert os.listdir(part.parent) == [part.name]
    have = part.stat().st_size
    assert 0 < have < len(content)
    server.faults.clear()
    download_davis.download("2017-trainval", tmp_path / "data")
    assert server.log[-1] == ["a.zip", f"bytes={have}-", len(content) - have]
    assert len(load_split(tmp_path / "data/DAVIS-2017-trainval-480p")) == 2


def test_bad_input_is_one_line(server, manifest, tmp_path):
    path = manifest({"DAVIS-data.zip": {"urls": [server.url("a.zip")]}})
    script = run("download_davis", path, "--set", "2016", "--out", tmp_path / "data")
    _, error = script.communicate()
    assert script.returncode == 2
    assert re.fullmatch(r"error: .*a\.zip: 404 Not Found; by hand: .*\n", error)
    with pytest.raises(BadInput, match="choose from MSRA10K, ECSSD, HKU-IS"):
        download_stills.download((), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file/DAVIS-2016-480p"):
        download_davis.download("2016", tmp_path / "file")


# The manifest


def test_dry_run_of_the_real_manifest(tmp_path):
    script, out = ROOT / "data_scripts/download_davis.py", tmp_path / "data"
    command = [sys.executable, script, "--set", "2017-trainval", "--out", out, "--dry-run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "DAVIS-2017-trainval-480p.zip\n" in said.stdout and "832,766,765 bytes" in said.stdout
    assert not out.exists()


def test_manifest_has_every_archive():
    manifest = tomllib.loads((ROOT / "data_scripts/archives.toml").read_text())
    wanted = {file for files, _ in download_stills.STILLS.values() for file in files}
    for chosen in ("2016", "2017-trainval", "2017-test-dev"):
        wanted |= {download_davis.archive_and_folder(chosen, r)[0] for r in ("480p", "full")}
    assert manifest.keys() == wanted
    for entry in manifest.values():
        assert entry["terms"] and entry["home"].startswith("https://")
        assert all(url.startswith("http") for url in entry["urls"])
        assert entry["urls"] or entry["by_hand"]
        assert re.fullmatch("[0-9a-f]{64}", entry.get("sha256", 64 * "0"))
        assert isinstance(entry.get("bytes", 0), int)
