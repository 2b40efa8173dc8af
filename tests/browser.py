"""A headless Chromium, spoken to through the pipe of its DevTools protocol.

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--remote-debugging-pipe",  # no port: nothing else can speak to it
    "--no-sandbox",  # which root has not; the pages are our own
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
)
SECONDS = 60  # that an answer may take
KEYS = {  # and their numbers in Windows, by which the protocol knows them
    "Tab": 9,
    "Enter": 13,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowRight": 39,
}


def find() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless Chromium.

    Attributes:
        errors: console errors, uncaught exceptions and failed requests of the page that is open.
        requests: addresses that it asked for, without `data:` ones.
    """

    def __init__(self, program: str):
        self._folder = tempfile.mkdtemp()
        read, self._to = os.pipe()
        self._from, write = os.pipe()
        # High numbers, so that neither is in the way of the 3 and the 4 that Chromium reads.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (read, write)]
        places = [
            (os.POSIX_SPAWN_DUP2, end, place) for end, place in zip(ends, (3, 4), strict=True)
        ]
        silent = [(os.POSIX_SPAWN_OPEN, place, os.devnull, os.O_RDWR, 0) for place in (0, 1, 2)]
        self._process = os.posix_spawn(
            program,
            [program, *OPTIONS, f"--user-data-dir={self._folder}", "about:blank"],
            os.environ,
            file_actions=silent + places,
            setpgroup=0,
        )
        for end in (read, write, *ends):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, None
        self.errors, self.requests = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, page: Path | str, width: int, phone: bool = False) -> None:
        """Opens a file or an address in a window of `width` CSS pixels and waits for its load."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.errors, self.requests, self._loaded = [], [], False
        url = page if isinstance(page, str) else page.resolve().as_uri()
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str):
        """The value of a JavaScript expression in the page; of a promise, what comes of it."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 20):
        """The value of an expression once it is true of the page."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"is not: {expression}"
            time.sleep(0.02)
        return value

    def click(self, selector: str) -> None:
        """Presses the mouse on an element, as it lies on the screen."""
        x, y = self._middle(selector)
        for event in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, times: int = 1, shift: bool = False) -> None:
        """Presses a key: "Tab", "Enter", " ", "ArrowRight", ..."""
        about = {"key": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 * shift}
        typed = {"text": {"Enter": "\r"}.get(key, key)} if key in ("Enter", " ") else {}
        for _ in range(times):
            self.send("Input.dispatchKeyEvent", type="keyDown", **about, **typed)
            self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Writes into what has the focus, in the place of what is selected."""
        self.send("Input.insertText", text=text)

    def drop(self, selector: str, *paths: Path) -> None:
        """Drags files onto an element and lets them go."""
        x, y = self._middle(selector)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=event, x=x, y=y, data=data)

    def choose(self, selector: str, *paths: Path) -> None:
        """Chooses files in an input of files."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.send(
            "DOM.setFileInputFiles",
            objectId=found["result"]["objectId"],
            files=[str(path) for path in paths],
        )

    def download_to(self, folder: Path) -> None:
        """Lets the pages save files, in this folder."""
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def prefer(self, scheme: str) -> None:
        """Sets the preference for "light" or "dark" pages."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def _middle(self, selector):
        return self.evaluate(
            f"""(async () => {{
              const element = document.querySelector({selector!r});
              element.scrollIntoView({{ block: "center", behavior: "instant" }});
              // The mouse meets what is drawn, which is of the frame before.
              const frame = () => new Promise(drawn => requestAnimationFrame(drawn));
              await frame();
              await frame();
              const box = element.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )

    def screenshot(self, path: Path) -> None:
        """Writes the whole page, however long, as a PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, path: Path) -> None:
        """Writes the page as it is printed."""
        answer = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        path.write_bytes(base64.b64decode(answer["data"]))

    def send(self, method: str, **parameters):
        """Sends a command and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict:
        """The next message; events are noted."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            data = os.read(self._from, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("the browser does not answer")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event, about):
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"]["text"])
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.errors.append(str(about["args"]))
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif event == "Network.loadingFailed" and not about.get("canceled"):
            self.errors.append(about["errorText"])
        elif event == "Network.requestWillBeSent":
            url = about["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)

    def close(self) -> None:
        """Ends the process, and what it has started."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)
