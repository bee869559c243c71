"""The course's network in any browser: a folder for a static host, and one HTML file.

    python browser/build.py --out runs/browser

(`make browser`) makes runs/browser/site and runs/browser/gcvos.html. onnxruntime-web comes from
npm, in the version and with the checksum below, and the weights from the package, so that neither
lies in the repository. The site runs on several threads where its service worker may add headers
(sw.js), which needs https or localhost; the one file also runs from a disk, on one thread.
`?threads=2` after the site's address says on how many, to measure them.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import export

from gcvos_mini import __version__
from gcvos_mini.bunny import CREDIT, FOLDER
from gcvos_mini.davis import load_sequence
from gcvos_mini.errors import BadInput, exit_on_bad_input, written_whole

HERE = Path(__file__).parent
RUNTIME, VERSION = "onnxruntime-web", "1.30.0"
# SHA-512, as npm has it
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
# What the page takes of it: for the processor, and with WebGPU besides.
TAKEN = {
    "runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm",
    "gpuRuntime": "ort.jspi.bundle.min.mjs", "gpuWasm": "ort-wasm-simd-threaded.jspi.wasm",
}  # fmt: skip
PAGE = ("index.html", "page.css", "sw.js")
PAGE_SCRIPTS = ("resize.js", "assets.js", "colours.js", "pictures.js", "sources.js", "masks.js",
                "paint.js", "files.js", "reads.js", "view.js", "follow.js",
                "takeaway.js", "page.js")  # fmt: skip
WORKER_SCRIPTS = ("resize.js", "gcvos.js", "record.js", "worker.js")  # each after what it imports
BUNNY_FRAMES = 36  # of 64: the whole download stays under 20 MB
MARK = "made-by-browser-build.txt"  # in the folder: what may be replaced


# ---- onnxruntime-web -----------------------------------------------------------------------------


def check(archive: Path) -> Path:
    """The archive itself, if it is the one that was meant. Raises BadInput on another."""
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise BadInput(f"{archive}: not {RUNTIME} {VERSION} (its checksum differs); remove it")
    return archive


def fetch(folder: Path) -> Path:
    """The archive of onnxruntime-web, from npm where it does not lie in the folder already.

    Raises BadInput where it cannot be fetched, or is another than the one meant.
    """
    path = folder / f"{RUNTIME}-{VERSION}.tgz"
    if path.is_file():
        return check(path)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as part:
            npm = shutil.which("npm") or "npm"  # npm.cmd on Windows; it knows a person's mirror
            subprocess.run(
                [npm, "pack", "--silent", f"{RUNTIME}@{VERSION}", "--pack-destination", part],
                check=True, capture_output=True, timeout=600,
            )  # fmt: skip
            check(Path(part) / path.name).replace(path)
    except (OSError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())[:200]
        fix = f"install npm and try again, or save it as {path}"
        raise BadInput(f"{path.name}: npm cannot fetch it ({reason}); {fix}") from error
    return path


def unpack(archive: Path, folder: Path) -> None:
    """The files of TAKEN, out of the archive into a folder."""
    with tarfile.open(archive) as tar:
        for name in TAKEN.values():
            (folder / name).write_bytes(tar.extractfile(f"package/dist/{name}").read())


# ---- the site ------------------------------------------------------------------------------------


def clip() -> dict:
    """The bunny as the page has it: frames as they are in the package, JPEG in base64, and the
    first mask as PNG."""
    sequence = load_sequence(FOLDER, "bunny", "240p")
    frames = sequence.frames[:BUNNY_FRAMES]
    first = sequence.masks[frames[0].stem].read_bytes()
    coded = [base64.b64encode(path.read_bytes()).decode() for path in frames]
    return {"name": "bunny", "credit": CREDIT, "rate": 12, "frames": coded,
            "mask": base64.b64encode(first).decode()}  # fmt: skip


def claim(out: Path) -> Path:
    """The folder to build in, as it is or new. Raises BadInput on one that others made."""
    others = [path for path in out.glob("*") if path.name != "npm"]  # what `fetch` keeps
    if others and not (out / MARK).is_file():
        raise BadInput(f"{out}: holds other files; give a new or an empty folder")
    with written_whole(out / MARK) as unfinished:
        unfinished.write_text("browser/build.py replaces what it finds in this folder.\n")
    return out


def files_of(site: Path) -> dict[str, dict]:
    """What the page loads: name -> {url, bytes}."""
    names = TAKEN | {"model": f"model/{export.METADATA}", "weights": f"model/{export.WEIGHTS}"}
    names |= {part: f"model/{part}.onnx" for part in export.PARTS} | {"clip": "clip.json"}
    return {name: {"url": url, "bytes": (site / url).stat().st_size}
            for name, url in names.items()}  # fmt: skip


def build_site(out: Path, archive: Path, checkpoint: str) -> Path:
    """The folder for a static host: every file as it lies in browser/, and what was fetched."""
    site = out / "site"
    shutil.rmtree(site, ignore_errors=True)
    (site / "model").mkdir(parents=True)
    export.export(checkpoint, site / "model")
    unpack(archive, site)
    (site / "clip.json").write_text(json.dumps(clip()))
    shutil.copyfile(HERE / "THIRD-PARTY.txt", site / "THIRD-PARTY.txt")
    for name in {*PAGE, *PAGE_SCRIPTS, *WORKER_SCRIPTS}:
        shutil.copyfile(HERE / name, site / name)
    about = {"version": __version__, "files": files_of(site)}
    (site / "files.json").write_text(json.dumps(about))
    return site


# ---- one file ------------------------------------------------------------------------------------


def joined(names: tuple[str, ...]) -> str:
    """Modules as one script: without imports and exports, since each comes after what it needs."""
    text = "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)
    text = re.sub(r'^import [^;]*? from "\./[^"]*";\n', "", text, flags=re.MULTILINE)
    return '"use strict";\n' + re.sub(r"^export (?=[a-z])", "", text, flags=re.MULTILINE)


def packed(content: bytes) -> str:
    """Bytes as text: gzip in base64."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(content)
    return base64.b64encode(stream.getvalue()).decode()


def build_file(site: Path, path: Path) -> Path:
    """The page as one HTML file with everything inside but WebGPU, which would double the program.

    In place of files.json it has a script element for each file.
    """
    files = {name: of for name, of in files_of(site).items() if not name.startswith("gpu")}
    texts = {name: packed((site / of["url"]).read_bytes()) for name, of in files.items()}
    parts = [f'<script type="text/plain" id="asset-{name}">{text}</script>'
             for name, text in texts.items()]  # fmt: skip
    sizes = {name: {"bytes": of["bytes"]} for name, of in files.items()}
    about = json.dumps({"version": __version__, "files": sizes})
    worker, page = (joined(names).replace("</script", "<\\/script")
                    for names in (WORKER_SCRIPTS, PAGE_SCRIPTS))  # fmt: skip
    text = (HERE / "index.html").read_text(encoding="utf-8")
    style = (HERE / "page.css").read_text(encoding="utf-8")
    notice = (HERE / "THIRD-PARTY.txt").read_text(encoding="utf-8")
    for old, new in {
        '<link rel="stylesheet" href="page.css">': f"<style>\n{style}</style>",
        '<a href="THIRD-PARTY.txt">licences of the parts</a>':
            f"<details><summary>licences of the parts</summary><pre>{notice}</pre></details>",
        '<script type="module" src="page.js"></script>': "\n".join([
            f'<script type="text/plain" id="worker">{worker}</script>', *parts,
            f'<script type="application/json" id="files">{about}</script>',
            f'<script type="module">{page}</script>',
        ]),
    }.items():  # fmt: skip
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return path


def build(out: Path, checkpoint: str = "mini", single: bool = True) -> Path:
    """Both, in a folder; returns that of the site. Raises BadInput as the parts do."""
    claim(out)
    site = build_site(out, fetch(out / "npm"), checkpoint)
    if single:
        build_file(site, out / "gcvos.html")
    return site


def downloaded(site: Path) -> int:
    """Bytes that a visitor downloads, gzipped as hosts send them, on the way without WebGPU."""
    loaded = [of["url"] for name, of in files_of(site).items() if not name.startswith("gpu")]
    own = [*PAGE, *{*PAGE_SCRIPTS, *WORKER_SCRIPTS}, "files.json"]
    return sum(len(gzip.compress((site / name).read_bytes())) for name in [*loaded, *own])


def main(out: Path, checkpoint: str = "mini") -> None:
    """Build the page: a folder for a static host, and one HTML file.

    Args:
        out: folder for both; npm's archive is kept in it.
        checkpoint: a shipped network's name, or a safetensors file.
    """
    site = build(out, checkpoint)
    size = (out / "gcvos.html").stat().st_size
    print(f"{site}: a visitor downloads {downloaded(site) / 1e6:.1f} MB; to look at it here:")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {site} 8000")
    print(f"{out / 'gcvos.html'}: {size / 1e6:.1f} MB, opens without a server")


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(main))
