"""Pictures of the server's page as a browser shows it, for the documentation.

    keras-medgen export runs/pneumonia models/pneumonia
    python benchmarks/page_screenshots.py models --image chest.png

Serves a folder of models, moves a slider, gives the page an image if there is one, and writes
docs/serving_page.png, 1280 pixels wide, and docs/serving_page_phone.png, of a phone's 390.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for the browser of the tests

from keras_medgen._marks import synthetic_mark  # noqa: E402
from keras_medgen.serving.server.run import Server  # noqa: E402
from tests.browser import Browser, find  # noqa: E402

# Picture, window's width, whether of a phone, scheme, and height to cut at (CSS pixels; None: all).
PICTURES = (
    ("serving_page.png", 1280, False, "dark", None),
    ("serving_page_phone.png", 390, True, "light", 1500),
)
MOVES = {0: 1.8, 1: -1.2}  # of the sliders
MOST = 300_000  # bytes
ALERTS = "[...document.querySelectorAll('[role=alert] p')].map(p => p.innerText).join(' ')"
MOVE = """(([slider, value]) => {{
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
}})([document.querySelector("#move-{}"), {}])"""


def shoot(browser: Browser, url: str, image: Path | None, width, phone, scheme) -> Image.Image:
    """The page with everything in use, from its top."""
    browser.prefer(scheme)
    browser.open(url, width, phone)
    browser.wait("document.querySelector('#sample-name').textContent")
    if not browser.evaluate("document.querySelector('#between').hidden"):
        for slider, value in MOVES.items():
            browser.evaluate(MOVE.format(slider, value))
        browser.evaluate("document.querySelector('#between').scrollIntoView()")
        browser.wait("document.querySelector('#between-name').textContent")
    if image is not None:
        browser.choose("#file", image.resolve())
        browser.wait(f"document.querySelector('#own-name').textContent || {ALERTS}")
    moved = f"{len(MOVES)} moved"
    browser.wait(f"moving.hidden || document.querySelector('#moved').ariaLabel.includes('{moved}')")
    browser.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    if wrong := browser.errors or browser.evaluate(ALERTS):
        raise SystemExit(f"the page has errors: {wrong}")
    with tempfile.TemporaryDirectory() as folder:
        browser.screenshot(Path(folder) / "shot.png")
        return Image.open(Path(folder) / "shot.png").convert("RGB")


def save(picture: Image.Image, path: Path) -> None:
    """Writes it in all of its colours, or in as many as its size allows."""
    for colours in (None, 256, 64):
        kept = picture if colours is None else picture.quantize(colours)
        kept.save(path, optimize=True, pnginfo=synthetic_mark("partly"))
        if path.stat().st_size <= MOST:
            break
    else:
        raise SystemExit(f"{path} has more than {MOST / 1000:.0f} KB: cut it lower")
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} KB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="folder of exported models")
    parser.add_argument("--model", help="the one to show; default: the first")
    parser.add_argument("--image", type=Path, help="a PNG or JPEG for the page to reconstruct")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=int, help="the seed to interpolate to")
    parser.add_argument("--label", type=int, help="the class, of a conditional model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    program = find()
    if program is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    asked = {"model": "model", "seed": "seed", "to": "to", "label": "class"}
    query = {key: getattr(arguments, name) for name, key in asked.items()}
    query = urlencode({key: value for key, value in query.items() if value is not None})
    browser = Browser(program)
    browser.send("Emulation.setScrollbarsHidden", hidden=True)
    try:
        with Server(arguments.models) as server:
            url = f"http://127.0.0.1:{server.rest_port}/?{query}"
            for name, width, phone, scheme, height in PICTURES:
                picture = shoot(browser, url, arguments.image, width, phone, scheme)
                if height is not None:
                    scale = picture.width / width
                    picture = picture.crop((0, 0, picture.width, int(height * scale)))
                save(picture, arguments.out / name)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
