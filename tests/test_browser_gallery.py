"""The gallery page in a real browser, opened as a file, as people do."""

import measure
import numpy as np
import pytest
from browser import fresh_page
from test_gallery import EVERY, HEIGHT, NAMES, decoded

from gcvos_mini.bunny import CREDIT
from gcvos_mini.show import gallery


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    path.write_text(gallery.build(NAMES, EVERY, HEIGHT), encoding="utf-8")
    return path


@pytest.fixture
def page(chromium, file):
    with fresh_page(chromium, viewport={"width": 1200, "height": 1100}) as page:
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(file.as_uri())
        measure.answer(page, "() => gallery.ready")
        choose(page, "two-friends")
        yield page
        asked = [url for url in page.requests if not url.startswith("data:")]
        assert asked == [file.as_uri()]


def pixels(page, canvas):
    return page.locator(canvas).first.evaluate("canvas => canvas.toDataURL()")


def choose(page, name):
    page.locator("#clip").select_option(label=name)
    page.wait_for_function("name => gallery.now.clip.name === name", arg=name)


def clip_data(page, name="two-friends"):
    clips = page.evaluate("JSON.parse(document.getElementById('data').textContent).clips")
    return next(clip for clip in clips if clip["name"] == name)


def click(page, y, x):
    """A real click on the middle of cell (y, x) of the frame."""
    frame = page.locator("#frame")
    scale = frame.bounding_box()["width"] / frame.evaluate("canvas => canvas.width")
    frame.click(position={"x": (16 * x + 8) * scale, "y": (16 * y + 8) * scale})


def test_each_control_changes_the_picture_it_belongs_to(page, tmp_path):
    page.screenshot(path=tmp_path / "gallery.png", full_page=True)
    seen = {pixels(page, "#map")}
    for control, key in [("#rank", "ArrowRight"), ("#alpha", "ArrowLeft"), ("#threshold", "End"),
                         ("#t", "ArrowLeft")]:  # fmt: skip
        frame = pixels(page, "#frame")
        page.locator(control).press(key)
        assert pixels(page, "#map") not in seen, control
        assert (pixels(page, "#frame") != frame) == (control == "#t")
        seen.add(pixels(page, "#map"))
    assert "4 of 5" in page.locator("#tOut").inner_text()
    page.locator("#t").press("Home")
    assert page.locator("#line figure").count() == 0
    page.locator("#play").click()
    page.get_by_text("5 of 5").wait_for()
    page.get_by_role("button", name="play").wait_for()  # it has stopped by itself
    assert page.locator("#line figure").count() == 5


def test_sorting_puts_the_channel_first_that_selects_the_object_best(page):
    scores = clip_data(page)["selectivity"][0]["object"]
    assert page.locator("#rankOut").inner_text() == f"channel {int(np.argmax(scores))}"
    page.locator("#order").select_option("")
    assert page.locator("#rankOut").inner_text() == "channel 0"
    page.locator("#order").select_option("object")
    page.locator("#rank").press("End")
    assert scores[int(page.locator("#rankOut").inner_text().split()[1])] == min(scores)


def test_a_click_changes_the_heat_maps_and_so_do_the_arrow_keys(page):
    click(page, 1, 2)
    above, below = "#line canvas:nth-child(1)", "#line canvas:nth-child(2)"
    seen = [{pixels(page, above)}, {pixels(page, below)}]
    words = page.locator("#words").inner_text()
    assert words.startswith("Row 1, column 2 of frame 5")
    click(page, 4, 6)
    assert page.locator("#words").inner_text().startswith("Row 4, column 6 of frame 5")
    for canvas, before in zip((above, below), seen):
        assert pixels(page, canvas) not in before
        before.add(pixels(page, canvas))
    page.locator("#frame").press("ArrowUp")
    page.locator("#frame").press(",")
    assert page.locator("#words").inner_text().startswith("Row 3, column 6 of frame 4")
    assert pixels(page, above) not in seen[0] and page.locator("#line figure").count() == 4


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_those_that_numpy_computes_of_the_same_numbers(page, name):
    choose(page, name)
    clip = clip_data(page, name)
    keys, queries = (x.astype(float) for x in decoded(clip))
    h, w = clip["map"]
    for t, y, x, o in [(4, 0, 0, 0), (2, h - 1, w - 1, len(clip["ids"]) - 1), (1, 2, 3, 0)]:
        got = page.evaluate("""([t, y, x, o]) => {
            const {dot, implied, softmax} = gallery.read(t, y, x, o);
            return [dot, implied, softmax].map(a => [...a]);
        }""", [t, y, x, o])  # fmt: skip
        dot = np.zeros((t, h, w))
        for i, row, column in np.ndindex(dot.shape):
            dot[i, row, column] = queries[t, :, y, x] @ keys[i, o, :, row, column]
        shares = np.full(t, 1 / t)  # eq. 2; mini's config gives the first frame no more
        softmax = np.exp(dot / 8 - (dot / 8).max())  # 8: the root of 64 channels
        expected = dot, dot * shares[:, None, None] / (h * w), softmax / softmax.sum()
        for numbers, right in zip(got, expected):
            np.testing.assert_allclose(numbers, right.ravel(), rtol=1e-5, atol=1e-6 * right.max())


def test_the_second_object_is_read_by_itself(page):
    click(page, 2, 3)
    before = pixels(page, "#line canvas")
    page.locator("#object").select_option(label="2")
    assert pixels(page, "#line canvas") != before
    choose(page, "approach")
    assert page.locator("#frameText").inner_text().startswith("Frame 5 of approach")
    assert not page.locator("#object").is_visible()


def test_the_bunny_opens_the_page_with_its_credit_and_J(chromium, file):
    with fresh_page(chromium) as page:
        page.goto(file.as_uri())
        measure.answer(page, "() => gallery.ready")
        said = page.locator("#frameText").inner_text()
        J = clip_data(page, "bunny")["J"]
        assert said.startswith("Frame 9 of bunny, outlined as found;")
        assert f"mean J {J:.2f} over the 9 later frames with a true mask" in said
        assert page.get_by_text(CREDIT).is_visible()
        choose(page, "approach")
        assert not page.get_by_text(CREDIT).is_visible()


def test_on_a_phone_nothing_is_wider_than_the_screen(chromium, file, tmp_path):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with fresh_page(chromium, **phone) as page:
        page.goto(file.as_uri())
        measure.answer(page, "() => gallery.ready")
        page.screenshot(path=tmp_path / "phone.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#frame").tap(position={"x": 40, "y": 40})
        assert page.locator("#words").inner_text().startswith("Row 1, column 1 ")
        for part in page.locator(".controls label > *:visible").all():
            box = part.bounding_box()
            assert box["x"] + box["width"] <= 390 - 23, part.inner_text()


def test_without_javascript_there_are_pictures_on_paper(chromium, file, tmp_path):
    with fresh_page(chromium, java_script_enabled=False) as page:
        page.goto(file.as_uri())
        page.screenshot(path=tmp_path / "paper.png", full_page=True)
        assert page.locator("noscript img").count() == 2 * len(NAMES)
        assert page.locator("noscript img").first.is_visible()
        assert not page.locator("#frame").is_visible()
