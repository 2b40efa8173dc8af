"""The page in a headless browser, before a server of NumPy functions and before the real one."""

import base64
import io
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import matplotlib
import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from keras_medgen._marks import is_synthetic
from tests.serving.server import fake_server
from tests.serving.server.fake_server import PAGE, FakeServer, generated, latents_of

READY = "document.querySelector('#sample-name').textContent"
ALERT = "document.querySelector('{} [role=alert] p')?.textContent"
SLIDE = """(() => {{
  const slider = document.querySelector({selector!r});
  for (const value of {values}) {{
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  }}
}})()"""


@pytest.fixture(scope="module")
def shared_server():
    models = {
        "chest": fake_server.model(conditional=True),
        "plain": fake_server.model(),
        "pairs": fake_server.model(channels=2),
        "bare": {"encode": fake_server.model()["serving_default"]},
        "decoder": {"generate": fake_server.model()["generate"]},
    }
    server = FakeServer(models)
    yield server
    server.close()


@pytest.fixture
def server(shared_server):
    shared_server.delay, shared_server.failing, shared_server.lists = 0, None, True
    shared_server.signatures()
    return shared_server


@pytest.fixture
def page(browser, server):
    """Opens the page, and fails for anything on its console that a test does not take away."""

    def opened(query="", width=1280, phone=False, ready=READY):
        browser.open(server.url + query, width, phone)
        browser.wait(ready)
        return browser

    yield opened
    assert browser.errors == []


def pixels(browser, selector):
    """What a canvas shows, (height, width, 3)."""
    url = browser.evaluate(f"document.querySelector({selector!r}).toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"), int)


def grey(image):
    return np.repeat(np.asarray(image)[..., :1] * 255, 3, axis=-1)


def wait_for(browser, selector, image):
    """Waits until a canvas shows an image, within the rounding to bytes."""
    for _ in range(200):
        shown = pixels(browser, selector)
        if shown.shape == image.shape and np.abs(shown - image).max() <= 0.51:
            return
        browser.evaluate("new Promise(resolve => setTimeout(resolve, 20))")
    np.testing.assert_allclose(shown, image, atol=0.51)


def text(browser, selector):
    return browser.evaluate(f"document.querySelector({selector!r}).textContent")


def address(browser):
    browser.evaluate("new Promise(resolve => setTimeout(resolve, 250))")
    return {key: value[0] for key, value in parse_qs(urlsplit(href(browser)).query).items()}


def href(browser):
    return browser.evaluate("location.href")


def hidden(browser):
    names = browser.evaluate(
        "[...document.querySelectorAll('section')].filter(s => s.hidden).map(s => s.id)"
    )
    return set(names)


def choose(browser, selector, value):
    browser.evaluate(
        f"""(() => {{
          const select = document.querySelector({selector!r});
          select.value = {value!r};
          select.dispatchEvent(new Event("change"));
        }})()"""
    )


def see_between(browser):
    """Brings the strip into sight, which is made only then, and waits for it."""
    browser.evaluate("document.querySelector('#between').scrollIntoView()")
    browser.wait("document.querySelector('#between-name').textContent")


def see_score(browser):
    """Waits for what is said of a file."""
    score = "document.querySelector('#score').textContent"
    browser.wait(f"{score} || {ALERT.format('#own')}")
    assert browser.evaluate(score), browser.evaluate(ALERT.format("#own"))


@pytest.fixture
def scan(tmp_path):
    """A grey file with one bright spot, twice the size of the model's images."""
    image = np.full((32, 32), 60, np.uint8)
    image[8:12, 20:24] = 250
    path = tmp_path / "scan.png"
    Image.fromarray(image).save(path)
    return path


class TestSamples:
    def test_eight_seeds_of_the_first_model(self, page):
        browser = page()
        wait_for(browser, "#sample", grey(generated(0, 0)))
        for i in range(8):
            wait_for(browser, f"#grid button:nth-child({i + 1}) canvas", grey(generated(i, 0)))
        assert address(browser) == {"model": "chest", "seed": "0", "class": "0"}
        assert hidden(browser) == set()
        facts = "chest · version 3 · 16 \N{MULTIPLICATION SIGN} 16 pixels, grey"
        assert text(browser, "#facts") == facts
        assert text(browser, "#sample-name") == "Seed 0 · normal"

    def test_buttons_and_the_address_find_a_seed(self, page, server):
        browser = page("?model=plain")
        server.signatures()
        browser.click("#grid button:nth-child(7)")
        wait_for(browser, "#sample", grey(generated(6)))
        browser.click("#next")
        wait_for(browser, "#sample", grey(generated(7)))
        assert "generate" not in server.signatures()  # they were there
        browser.click("#next")
        wait_for(browser, "#sample", grey(generated(8)))
        assert text(browser, "#grid button[aria-pressed=true]") == "8"
        browser.click("#previous")
        wait_for(browser, "#sample", grey(generated(7)))
        assert address(browser) == {"model": "plain", "seed": "7"}
        browser.open(href(browser), 1280)
        wait_for(browser, "#sample", grey(generated(7)))

    def test_new_samples_are_of_another_page(self, page):
        browser = page("?model=plain")
        browser.click("#draw")
        seed = int(browser.wait("Number(document.querySelector('#seed').value)"))
        assert seed % 8 == 0
        wait_for(browser, "#sample", grey(generated(seed)))

    @pytest.mark.parametrize("typed", ["-1", "1.5", "2147483648", "one", ""])
    def test_a_wrong_seed_is_said_and_mended(self, page, typed):
        browser = page("?model=plain")
        browser.evaluate("document.querySelector('#seed').select()")
        browser.type(typed) if typed else browser.evaluate("void (seed.value = '')")
        browser.press("Enter")
        assert "whole number from 0 to 2147483647" in browser.wait(ALERT.format("#samples"))
        assert address(browser)["seed"] == "0"
        browser.evaluate("document.querySelector('#seed').select()")
        browser.type("2147483647")
        browser.press("Enter")
        wait_for(browser, "#sample", grey(generated(2147483647)))
        assert not browser.evaluate(ALERT.format("#samples"))
        assert browser.evaluate("document.querySelector('#next').disabled")

    def test_download(self, page, tmp_path):
        browser = page("?model=chest&seed=5&class=1")
        browser.download_to(tmp_path)
        browser.click("#download")
        browser.wait("document.querySelector('#samples [role=status]').textContent.match(/saved/)")
        name = "chest_class-1_seed-5_synthetic.png"
        for _ in range(100):
            if (tmp_path / name).exists():
                break
            browser.evaluate("new Promise(resolve => setTimeout(resolve, 20))")
        assert is_synthetic(tmp_path / name)
        with Image.open(tmp_path / name) as saved:
            np.testing.assert_array_equal(saved, (generated(5, 1)[..., 0] * 255).round())

    def test_two_channels(self, page):
        browser = page("?model=pairs")
        wait_for(browser, "#sample", grey(generated(0)))
        assert "2 channels, of which the first is shown" in text(browser, "#facts")

    def test_colours(self, page, server):
        server.models["colours"] = fake_server.model(channels=3)
        browser = page("?model=colours&seed=2")
        wait_for(browser, "#sample", 255 * generated(2, channels=3))
        assert text(browser, "#facts").endswith("colour")


class TestClasses:
    def test_names_and_choice(self, page):
        browser = page("?model=chest&seed=3&class=1")
        wait_for(browser, "#sample", grey(generated(3, 1)))
        names = browser.evaluate("[...document.querySelectorAll('#class option')].map(o => o.text)")
        assert names == ["normal", "pneumonia", "no class"]
        choose(browser, "#class", "-1")
        wait_for(browser, "#sample", grey(generated(3, -1)))
        assert address(browser) == {"model": "chest", "seed": "3", "class": "-1"}
        assert text(browser, "#sample-name") == "Seed 3 · no class"

    def test_numbers_without_names(self, page, server):
        server.models["nameless"] = fake_server.model(conditional=True)
        del server.models["nameless"]["class_name"]
        browser = page("?model=nameless&class=7")
        names = browser.evaluate("[...document.querySelectorAll('#class option')].map(o => o.text)")
        assert names == ["class 0", "class 1", "no class"]
        wait_for(browser, "#sample", grey(generated(0, 0)))

    def test_another_model(self, page, server):
        browser = page("?model=chest&seed=2")
        choose(browser, "#model", "decoder")
        wait_for(browser, "#sample", grey(generated(2)))
        assert hidden(browser) == {"moving", "between", "own"}
        assert browser.evaluate("document.querySelector('#class-list').hidden")
        assert browser.evaluate("document.querySelector('#download').parentElement.hidden")
        assert address(browser) == {"model": "decoder", "seed": "2"}


class TestMoving:
    def moved(self, seed, offsets, label=-1):
        latents = np.stack([latents_of(i, label) for i in range(64)])
        latent = latents_of(seed, label)
        for i, offset in offsets.items():
            latent[i] += offset * latents[:, i].std(ddof=1)
        return grey(fake_server.decoded(latent))

    def test_by_keyboard_then_another_sample_then_reset(self, page, server):
        browser = page("?model=chest&seed=4&class=1")
        wait_for(browser, "#moved", grey(generated(4, 1)))
        assert "sample_latents" not in server.signatures()
        browser.evaluate("document.querySelector('#move-1').focus()")
        browser.press("ArrowRight", times=5)
        wait_for(browser, "#moved", self.moved(4, {1: 0.5}, 1))
        browser.evaluate("document.querySelector('#move-7').focus()")
        browser.press("Home")
        wait_for(browser, "#moved", self.moved(4, {1: 0.5, 7: -3}, 1))
        assert text(browser, "#moved-name") == "Seed 4, 2 moved · pneumonia"
        spoken = browser.evaluate("document.querySelector('#move-7').ariaValueText")
        assert spoken == "\N{MINUS SIGN}3.0 standard deviations"
        browser.click("#next")
        wait_for(browser, "#moved", self.moved(5, {1: 0.5, 7: -3}, 1))
        browser.click("#reset")
        wait_for(browser, "#moved", grey(generated(5, 1)))

    def test_of_many_moves_the_last_wins(self, page, server):
        browser = page("?model=plain", 390, phone=True)  # where no other part is seen
        server.signatures()
        server.delay = 0.1
        values = [round(0.1 * i, 1) for i in range(1, 31)]
        browser.evaluate(SLIDE.format(selector="#move-0", values=values))
        wait_for(browser, "#moved", self.moved(0, {0: values[-1]}))
        browser.evaluate("new Promise(resolve => setTimeout(resolve, 300))")
        asked = [name for name in server.signatures() if name == "serving_default"]
        assert 1 <= len(asked) <= 2
        wait_for(browser, "#moved", self.moved(0, {0: values[-1]}))

    def test_dimensions_beyond_eight(self, page):
        browser = page("?model=plain")
        browser.click("#more")
        assert text(browser, "#dimensions") == "9 to 10 of 10"
        shown = "[...document.querySelectorAll('#sliders p:not([hidden]) label')]"
        labels = browser.evaluate(f"{shown}.map(label => label.textContent)")
        assert labels == ["Dimension 9", "Dimension 10"]
        browser.evaluate(SLIDE.format(selector="#move-1", values=[2]))
        wait_for(browser, "#moved", self.moved(0, {9: 2}))


class TestBetween:
    def test_the_strip_and_the_slider(self, page, server):
        browser = page("?model=plain&seed=3&to=20")
        server.signatures()
        see_between(browser)
        way = self.way(3, 20, 61)
        for i in range(7):
            selector = f"#strip button:nth-child({i + 1}) canvas"
            wait_for(browser, selector, grey(way[10 * i]))
        np.testing.assert_allclose(way[0], generated(3), atol=1e-6)
        np.testing.assert_allclose(way[-1], generated(20), atol=1e-6)
        wait_for(browser, "#between-picture", grey(way[30]))
        browser.evaluate("document.querySelector('#way').focus()")
        browser.press("ArrowRight", times=4)
        wait_for(browser, "#between-picture", grey(way[34]))
        assert not browser.evaluate("document.querySelector('#strip [aria-pressed=true]')")
        browser.click("#strip button:nth-child(2)")
        wait_for(browser, "#between-picture", grey(way[10]))
        assert text(browser, "#strip [aria-pressed=true]") == "17%"

    def way(self, a, b, steps):
        """The images on the way by the package's own interpolation."""

        class Latents:
            def encode(self, images):
                return {"mean": images.reshape(len(images), -1)}

            def decode(self, latents):
                return latents[:, None, :, None]

        ends = [latents_of(seed)[None, :, None] for seed in (a, b)]
        latents = kmg.latents.interpolate(Latents(), *ends, steps=steps)
        return [fake_server.decoded(row.ravel()) for row in latents]

    def test_nothing_is_made_before_it_is_seen(self, page, server):
        browser = page("?model=plain", width=390, phone=True)
        browser.evaluate("new Promise(resolve => setTimeout(resolve, 200))")
        assert server.signatures() == ["generate"]

    def test_another_end(self, page):
        browser = page("?model=plain&seed=3")
        browser.evaluate("document.querySelector('#to').select()")
        browser.type("9")
        browser.press("Enter")
        wait_for(browser, "#strip button:last-child canvas", grey(generated(9)))
        assert address(browser) == {"model": "plain", "seed": "3", "to": "9"}
        browser.evaluate("document.querySelector('#to').select()")
        browser.type("nine")
        browser.press("Enter")
        assert "whole number" in browser.wait(ALERT.format("#between"))


class TestOwnImage:
    def test_dropped(self, page, scan, server):
        browser = page("?model=chest&class=1")
        see_between(browser)  # beyond which nothing moves under the mouse
        browser.drop("#drop", scan)
        see_score(browser)
        with Image.open(scan) as picture:
            image = np.asarray(picture.resize((16, 16))) / 255
        wait_for(browser, "#restored-picture", grey(image.clip(0, 0.6)[..., None]))
        spot = image - image.clip(0, 0.6)
        assert float(text(browser, "#score")) == pytest.approx(spot.max(), rel=5e-3)
        assert float(text(browser, "#most")) == pytest.approx(spot.max(), rel=5e-2)
        colours = matplotlib.colormaps["inferno"](spot / spot.max())[..., :3] * 255
        np.testing.assert_allclose(pixels(browser, "#map"), colours, atol=4)
        assert browser.evaluate("document.querySelector('#input').naturalWidth") == 32
        assert text(browser, "#own-name") == "scan.png"
        assert self.labels(server) == [[[0, 1]]] * 2
        choose(browser, "#class", "-1")
        browser.wait("document.querySelector('#sample-name').textContent.includes('no class')")
        browser.wait("!document.querySelector('#found').hidden")
        assert self.labels(server)[2:] == [[[0, 0]]] * 2

    def labels(self, server):
        return [inputs["labels"] for _, name, inputs in server.asked if name.endswith("_bytes")]

    def test_the_scale_bar(self, page, scan):
        browser = page()
        browser.choose("#file", scan)
        see_score(browser)
        inferno = matplotlib.colormaps["inferno"](np.arange(256))[None, :, :3] * 255
        np.testing.assert_allclose(pixels(browser, "#colours"), inferno, atol=3)

    def test_chosen_and_its_scale_kept(self, page, scan, tmp_path):
        browser = page("?model=plain")
        browser.choose("#file", scan)
        see_score(browser)
        most = text(browser, "#most")
        browser.click("#keep")
        faint = tmp_path / "faint.jpg"
        Image.new("L", (32, 32), 178).save(faint)
        browser.choose("#file", faint)
        browser.wait("document.querySelector('#own-name').textContent === 'faint.jpg'")
        assert text(browser, "#most") == most
        assert pixels(browser, "#map")[..., 0].max() < 120  # the colours of the lower half
        browser.click("#keep")
        assert float(text(browser, "#most")) < float(most)
        assert pixels(browser, "#map").min() > 100

    def test_pasted(self, page, scan):
        browser = page("?model=plain")
        data = list(scan.read_bytes())
        browser.evaluate(
            f"""(() => {{
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array({data})], "pasted.png"));
              const options = {{ clipboardData: data, bubbles: true }};
              document.body.dispatchEvent(new ClipboardEvent("paste", options));
            }})()"""
        )
        browser.wait("document.querySelector('#own-name').textContent === 'pasted.png'")

    def test_wrong_files_are_refused_in_words(self, page, scan, tmp_path, server):
        browser = page("?model=plain")
        wrong = {
            "notes.txt": (b"no image", "neither a PNG nor a JPEG"),
            "empty.png": (b"", "neither a PNG nor a JPEG"),
            "scan.dcm": (bytes(128) + b"DICM" + bytes(8), "a DICOM file"),
            "cut.png": (scan.read_bytes()[:40], "damaged"),
            "large.jpg": (b"\xff\xd8\xff" + bytes(21 * 2**20), "22 MiB. The most is 20 MiB"),
        }
        for name, (content, words) in wrong.items():
            path = tmp_path / name
            path.write_bytes(content)
            browser.drop("#drop", path)
            said = browser.wait(
                f"(said => said?.includes({name!r}) && said)({ALERT.format('#own')})"
            )
            assert words in said
        assert not {"reconstruct_bytes", "detect_bytes"} & set(server.signatures())
        assert browser.evaluate("document.querySelector('#found').hidden")
        browser.drop("#drop", scan)
        browser.wait("document.querySelector('#score').textContent")
        assert not browser.evaluate(ALERT.format("#own"))

    def test_a_file_that_a_model_does_not_take(self, page, scan):
        browser = page("?model=decoder")
        browser.drop("body", scan)
        assert "takes no images" in browser.wait(ALERT.format("header"))
        assert href(browser).startswith("http")


class TestErrors:
    """Chromium itself writes failed requests to the console: these alone are allowed."""

    @pytest.fixture
    def page(self, page, browser):
        yield page
        assert all("Failed to load resource" in e or "net::ERR" in e for e in browser.errors)
        browser.errors.clear()

    def test_the_server_goes_and_comes_back(self, page, browser):
        models = {"plain": fake_server.model()}
        first = FakeServer(models)
        browser.open(first.url, 1280)
        browser.wait(READY)
        first.close()
        browser.click("#draw")
        assert "cannot be reached" in browser.wait(ALERT.format("#samples"))
        assert browser.evaluate("document.querySelector('.stale') !== null")
        browser.press("Enter")
        browser.evaluate("document.querySelector('#seed').select()")
        browser.type("17")
        browser.press("Enter")
        browser.wait(ALERT.format("#samples"))
        second = FakeServer(models, port=first.server_port)
        browser.click("#samples [role=alert] button")
        wait_for(browser, "#sample", grey(generated(17)))
        assert not browser.evaluate(ALERT.format("#samples"))
        assert not browser.evaluate("document.querySelector('.stale')")
        second.close()

    @pytest.mark.parametrize(
        ("failing", "words"),
        [
            ((400, '{"error": "label must be a class."}'), "The server says: label must be"),
            ((504, '{"error": "Too slow."}'), "The server says: Too slow."),
            ((502, "<html>Bad Gateway</html>"), "The server answered 502"),
            ((200, "<html>"), "it is not JSON"),
        ],
    )
    def test_what_a_server_answers(self, page, server, failing, words):
        browser = page("?model=plain")
        server.failing = failing
        browser.evaluate(SLIDE.format(selector="#move-0", values=[1]))
        assert words in browser.wait(ALERT.format("#moving"))
        server.failing = None
        browser.evaluate(SLIDE.format(selector="#move-0", values=[0]))
        wait_for(browser, "#moved", grey(generated(0)))
        assert not browser.evaluate(ALERT.format("#moving"))

    def test_a_file_that_the_server_refuses(self, page, server, scan):
        browser = page("?model=plain")
        server.failing = (413, '{"error": "The body is too large."}')
        browser.choose("#file", scan)
        assert "The body is too large" in browser.wait(ALERT.format("#own"))
        server.failing = None
        browser.click("#own [role=alert] button")
        browser.wait("document.querySelector('#score').textContent")

    def test_an_unknown_model(self, page):
        browser = page("?model=<b>none</b>", ready=ALERT.format("header"))
        said = browser.evaluate(ALERT.format("header"))
        assert "“<b>none</b>” cannot be opened. The server says: Could not find" in said
        assert hidden(browser) == {"samples", "moving", "between", "own"}
        choose(browser, "#model", "plain")
        wait_for(browser, "#sample", grey(generated(0)))
        assert not browser.evaluate(ALERT.format("header"))

    def test_a_model_without_the_signatures(self, page):
        browser = page("?model=bare", ready=ALERT.format("header"))
        assert "none of the signatures" in browser.evaluate(ALERT.format("header"))

    @pytest.mark.parametrize("proxy", [False, True])
    def test_a_server_that_lists_no_models(self, page, server, monkeypatch, proxy):
        server.lists = False
        if proxy:  # that answers with a page of its own
            answer = fake_server.Handler._json

            def answer_or_page(handler, status, document):
                if handler.path == "/v1/models":
                    return handler._send(200, "<!doctype html>", "text/html")
                return answer(handler, status, document)

            monkeypatch.setattr(fake_server.Handler, "_json", answer_or_page)
        browser = page(ready="!document.querySelector('#model-box').hidden")
        assert browser.evaluate("document.querySelector('#model-list').hidden")
        browser.evaluate("document.querySelector('#model-name').focus()")
        browser.type("plain")
        browser.press("Enter")
        wait_for(browser, "#sample", grey(generated(0)))
        browser.open(f"{server.url}?model=plain&seed=6", 1280)
        wait_for(browser, "#sample", grey(generated(6)))

    def test_a_server_without_models(self, page, browser):
        server = FakeServer({})
        browser.open(server.url, 1280)
        assert "no model yet" in browser.wait(ALERT.format("header"))
        server.models["plain"] = fake_server.model()
        browser.click("header [role=alert] button")
        wait_for(browser, "#sample", grey(generated(0)))
        server.close()


CONTRASTS = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3)
    .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return (numbers(colour)[3] ?? 1) ? colour : ground(element.parentElement);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("noscript, option, :disabled")) continue;
    const [a, b] = [getComputedStyle(element).color, ground(element)].map(light).sort();
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data]);
  }
  return found;
})()"""
NAMELESS = """[...document.querySelectorAll("button, input, select, canvas[role], img")]
  .filter(e => e.checkVisibility())
  .filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim() || e.alt))
  .map(e => e.outerHTML)"""


class TestLayout:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
    def test_fits_and_can_be_read(self, page, server, scan, width, phone, scheme):
        name = "a_model_with_quite_a_long_name_of_chest_radiographs_at_28_pixels"
        server.models[name] = server.models["chest"]
        page("?model=chest").prefer(scheme)
        browser = page(f"?model={name}&seed=2147483640", width, phone)
        see_between(browser)
        self.fits(browser, width)
        browser.drop("#drop", scan)
        see_score(browser)
        server.failing = (500, json.dumps({"error": "an_error_of_the_server_" * 9}))
        browser.evaluate(SLIDE.format(selector="#move-0", values=[1]))
        browser.wait(ALERT.format("#moving"))
        browser.errors.clear()
        self.fits(browser, width)
        contrasts = browser.evaluate(CONTRASTS)
        assert len(contrasts) > 60
        assert min(contrasts)[0] >= 4.5, min(contrasts)
        assert browser.evaluate(NAMELESS) == []

    def fits(self, browser, width):
        wide, room = browser.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide == room
        assert width - 16 <= room <= width  # a phone's window grows with what is too wide

    def test_pictures_are_large_and_unsmoothed(self, page):
        for width, phone, least in ((390, True, 300), (1280, False, 350)):
            browser = page("?model=plain", width, phone)
            box, rendering = browser.evaluate(
                "(e => [e.clientWidth, getComputedStyle(e).imageRendering])(sample)"
            )
            assert box >= least
            assert rendering == "pixelated"

    def test_always_says_what_they_are(self, page):
        browser = page("?model=plain", 390, phone=True)
        browser.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        top, words = browser.evaluate(
            "(e => [e.getBoundingClientRect().top, e.innerText])"
            "(document.querySelector('.warning'))"
        )
        assert top == 0
        assert words.startswith("Synthetic, not for diagnosis")
        assert text(browser, "#samples .mark") == "Synthetic"

    def test_keyboard_alone_reaches_a_sample(self, page):
        browser = page("?model=plain")
        for _ in range(20):
            browser.press("Tab")
            if browser.evaluate("document.activeElement.matches('#grid button:nth-child(4)')"):
                break
        outline = browser.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"
        browser.press("Enter")
        wait_for(browser, "#sample", grey(generated(3)))
        browser.press("Tab", shift=True)
        browser.press(" ")
        wait_for(browser, "#sample", grey(generated(2)))


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


class TestFiles:
    html = (PAGE / "index.html").read_text("utf-8")

    def test_are_all_of_the_page_and_nothing_inline(self):
        names = {file.name for file in PAGE.iterdir()}
        elements = Elements(self.html).found
        asked = {"index.html"}
        for tag, attributes in elements:
            assert not any(name == "style" or name.startswith("on") for name in attributes)
            for name in ("src", "href"):
                if name in attributes:
                    asked.add(attributes[name].removeprefix("page/"))
            assert tag != "style"
            assert tag != "script" or "src" in attributes
        for name in names:
            if name.endswith(".js"):
                asked |= set(re.findall(r'from "\./(.+?)"', (PAGE / name).read_text("utf-8")))
        assert asked == names

    def test_are_installed_with_the_package(self):
        root = Path(__file__).parents[3]
        setup = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
        patterns = setup["package-data"]["keras_medgen.serving.server"]
        package = root / "keras_medgen/serving/server"
        packaged = {path.name for pattern in patterns for path in package.glob(pattern)}
        assert packaged == {file.name for file in PAGE.iterdir()}


class TestWithTheRealServer:
    @pytest.fixture(scope="class")
    def served(self, tmp_path_factory):
        pytest.importorskip("starlette")
        from keras_medgen.serving.server.run import Server
        from tests.serving.small_models import small_model

        model = small_model("VAE, conditional")
        folder = tmp_path_factory.mktemp("models")
        kmg.serving.export(model, folder / "small", class_names=["one", "two", "three"])
        with Server(folder) as server:
            yield model, f"http://127.0.0.1:{server.rest_port}/"

    def test_all_parts(self, browser, served, tmp_path):
        model, url = served
        browser.open(f"{url}?class=1&seed=2&to=5", 1280)
        wait_for(browser, "#sample", grey(model.generate(1, labels=[1], seed=2)[0]))
        assert browser.evaluate("document.querySelector('#class').selectedOptions[0].text") == "two"
        browser.evaluate(SLIDE.format(selector="#move-0", values=[1, 2]))
        browser.wait("document.querySelector('#moved-name').textContent.includes('moved')")
        see_between(browser)
        end = grey(model.generate(1, labels=[1], seed=5)[0])
        wait_for(browser, "#strip button:last-child canvas", end)
        height, width, _ = model.image_shape
        random = np.random.default_rng(0)
        image = random.integers(0, 256, (height, width), np.uint8)
        Image.fromarray(image).save(tmp_path / "scan.png")
        browser.drop("#drop", tmp_path / "scan.png")
        see_score(browser)
        images = image[None, ..., None] / np.float32(255)
        wait_for(browser, "#restored-picture", grey(model.reconstruct(images, [1])[0]))
        found = kmg.anomaly.detect(model, images, labels=np.array([1]))
        assert float(text(browser, "#score")) == pytest.approx(found["scores"][0], rel=5e-3)
        browser.download_to(tmp_path)
        browser.click("#download")
        browser.wait("document.querySelector('#samples [role=status]').textContent.match(/saved/)")
        assert browser.errors == []

    def test_its_own_words_of_an_error(self, browser, served):
        browser.open(f"{served[1]}?model=none", 1280)
        assert "“none” cannot be opened. The server says: " in browser.wait(ALERT.format("header"))
