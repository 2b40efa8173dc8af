"""A picture of a saved report as a browser shows it, for the documentation.

    keras-medgen evaluate runs/pneumonia
    python benchmarks/report_screenshot.py runs/pneumonia/report

Opens report.html in a headless Chromium and writes its upper part to docs/report_screenshot.png.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from keras_medgen._marks import synthetic_mark

PICTURE = Path(__file__).parents[1] / "docs" / "report_screenshot.png"
WIDTH = 1280  # CSS pixels of the window
MOST = 300_000  # bytes
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def screenshot(page: Path, height: int, picture: Path) -> None:
    """Writes the upper `height` pixels of a page as a PNG."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [
                program,
                "--headless",
                "--no-sandbox",  # which root has not; the page is our own
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{height}",
                f"--screenshot={shot}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(shot) as image:
            # A page of text and grey images loses nothing that can be seen in 256 colours.
            mark = synthetic_mark("partly")
            image.convert("RGB").quantize(256).save(picture, optimize=True, pnginfo=mark)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="folder of a saved report")
    parser.add_argument("--height", type=int, default=1800, help="of the picture, in pixels")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    screenshot(arguments.report / "report.html", arguments.height, arguments.out)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {size / 1000:.0f} KB")
    if size > MOST:
        raise SystemExit(f"more than {MOST / 1000:.0f} KB: give a smaller --height")


if __name__ == "__main__":
    main()
