"""How fast the page is, beside Python in the same run, and whether its memory grows.

    python browser/measure.py --site runs/browser/site --threads 1 2 --frames 2000

Needs Chromium and Playwright (the extra `test`). The bunny, one object; close what else is running.
"""

import functools
import http.server
import json
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from gcvos_mini.bunny import FOLDER, load_bunny
from gcvos_mini.errors import BadInput, at_least, exit_on_bad_input
from gcvos_mini.network import load_model
from gcvos_mini.segment import VideoSegmenter
from gcvos_mini.tables import markdown

WATCH = """globalThis.stalls = [0];
new PerformanceObserver(list => stalls.push(...list.getEntries().map(entry => entry.duration)))
  .observe({type: "longtask", buffered: true});"""
STEP = """async () => {
  const from = performance.now();
  document.querySelector("#on").click();
  await gcvos.settled();
  return performance.now() - from;
}"""
# Chromium's flags, also of the tests: no graphics card, and nothing asked of the network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
SIZES = (160, 240, 320)  # lines that the page offers
MARKED = "gcvos.state.ids.filter(id => id > 0).length"  # pixels of the newest mask
BYTES = "async () => (await performance.measureUserAgentSpecificMemory()).bytes"
READY, SETTLED = "() => gcvos.ready", "() => gcvos.settled()"


@contextmanager
def served(folder: Path):
    """A folder on a port of this machine, as a static host has it: no headers of its own."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def answer(page, function: str, arg=None, seconds: float = 120):
    """What a function of the page comes to, which may take its time. Raises TimeoutError.

    Asked for again and again: where Playwright itself waits for a promise, a browser may drop it,
    and newer ones then never answer.
    """
    page.evaluate(
        f"""arg => {{
          const asked = globalThis.asked = {{done: false}};
          Promise.resolve(arg).then({function}).then(
            value => Object.assign(asked, {{done: true, value}}),
            error => Object.assign(asked, {{done: true, error: String(error)}}));
        }}""",
        arg,
    )
    end = time.monotonic() + seconds
    while not page.evaluate("asked.done"):
        if time.monotonic() > end:
            raise TimeoutError(f"no answer of the page in {seconds:.0f} s: {function}")
        page.wait_for_timeout(10)
    if error := page.evaluate("asked.error"):
        raise RuntimeError(error)
    return page.evaluate("asked.value")


def opened(browser, url: str, threads: int):
    """The page on so many threads, stopped, and the seconds until its first mask was found."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.add_init_script(WATCH)
    start = time.perf_counter()
    page.goto(f"{url}?threads={threads}")
    page.wait_for_function("globalThis.gcvos?.state.newest >= 1")  # it plays at once
    seconds = time.perf_counter() - start
    answer(page, READY)
    page.locator("#play").click()
    answer(page, SETTLED)
    return page, seconds


def of_page(page, lines: int, steps: int) -> float:
    """Milliseconds from one mask on the screen to the next, the median."""
    page.locator("#lines").select_option(str(lines))
    page.locator("#bunny").click()
    answer(page, SETTLED)
    return statistics.median(answer(page, STEP) for _ in range(steps))


def of_python(lines: int, threads: int, steps: int) -> float:
    """Milliseconds a frame of Python's segmenter in float32, the median."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    frames, masks = load_bunny()
    segmenter, times = VideoSegmenter(load_model("mini"), height=lines), []
    segmenter.start(frames[0], masks[0])
    for frame in frames[1 : steps + 1]:
        start = time.perf_counter()
        segmenter.step(frame)
        times.append(1e3 * (time.perf_counter() - start))
    torch.set_num_threads(before)
    return statistics.median(times)


def plays_to(page, last: int, bar) -> None:
    """Wait until the page has the mask of frame `last`. Raises BadInput where it stops before."""
    while True:
        playing, newest = page.evaluate("[gcvos.state.playing, gcvos.state.newest]")
        bar.update(newest - bar.n)
        if newest >= last:
            return
        if not playing:
            said = page.locator("#words").inner_text()
            raise BadInput(f"the page stopped at frame {newest} of {last}: {said}")
        page.wait_for_timeout(1000)


def growth(page, frames: int) -> tuple[float, int]:
    """Bytes by which the page grows from frame 70 of a long video to its end, and the pixels that
    are marked then: empty masks would take no room."""
    pictures = sorted((FOLDER / "JPEGImages" / "240p" / "bunny").glob("*.jpg"))[:30]
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / f"{t:05}.jpg" for t in range(frames)]
        for t, name in enumerate(names):
            name.write_bytes(pictures[t % len(pictures)].read_bytes())
        page.locator("#lines").select_option("160")
        page.locator("#file").set_input_files(names)
        page.wait_for_function("n => gcvos.state.source.length === n", arg=frames)
        answer(page, SETTLED)
        page.evaluate("gcvos.painter.ids.set(gcvos.state.bunny.mask)")  # the rabbit's own
        page.locator("#apply").click()
        answer(page, SETTLED)
        page.locator("#play").click()
        with tqdm(total=frames - 1, unit="frame", disable=None) as bar:
            plays_to(page, 70, bar)
            before = answer(page, BYTES)
            plays_to(page, frames - 1, bar)
        return answer(page, BYTES) - before, page.evaluate(MARKED)


def compare(browser, url: str, threads, lines, steps: int, frames: int):
    """Rows of the table, one for each number of threads and size; see `measure`."""
    for count in threads:
        page, first = opened(browser, url, count)
        for height in lines:
            ours, python = of_page(page, height, steps), of_python(height, count, steps)
            stall = page.evaluate("Math.max(...stalls)")
            yield (count, height, f"{first:.1f}", f"{ours:.0f}", f"{python:.0f}",
                   f"{ours / python:.1f}", f"{stall:.0f}")  # fmt: skip
        if frames and count == threads[-1]:
            more, marked = growth(page, frames)
            print(f"{frames} frames: {more / 1e6:+.1f} MB, {marked} pixels marked in the last one")
        page.close()


def check(site: Path, threads, lines, steps: int, frames: int) -> None:
    """Raises BadInput on what `measure` cannot run with."""
    if not (site / "index.html").is_file():
        raise BadInput(
            f"{site}: no page there; make it: python browser/build.py --out {site.parent}"
        )
    for count in threads:
        at_least(1, threads=count)
    for height in lines:
        if height not in SIZES:
            raise BadInput(f"--lines {height}: the page has no such size; give 160, 240 or 320")
    clip = json.loads((site / "clip.json").read_text())  # shorter than Python's bunny
    at_least(1, len(clip["frames"]) - 1, steps=steps)
    at_least(71, frames=frames or 71)


def measure(
    site: Path,
    threads: tuple[int, ...] = (1, 2),
    lines: tuple[int, ...] = (160, 240),
    steps: int = 30,
    frames: int = 0,
) -> None:
    """Print tables.

    Args:
        site: the folder that build.py made.
        threads: of the page, and of Python.
        lines: at which the network works: 160, 240 or 320.
        steps: frames timed at each size.
        frames: of a long video for the page's memory, above 70; none if 0.
    """
    check(site, threads, lines, steps, frames)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise BadInput("this needs Playwright: pip install -e '.[test]'") from None

    with served(site) as url, sync_playwright() as playwright:
        program = shutil.which("chromium") or playwright.chromium.executable_path
        if not Path(program).is_file():
            raise BadInput("no Chromium: install Debian's package chromium, or run "
                           "python -m playwright install chromium")  # fmt: skip
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        rows = list(compare(browser, url, threads, lines, steps, frames))
        browser.close()
    print(markdown(("threads", "lines", "first mask, s", "a frame, ms", "Python, ms", "times",
                    "longest stall, ms"), rows))  # fmt: skip


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(measure))
