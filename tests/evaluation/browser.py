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

    def open(self, path: Path, width: int, phone: bool = False) -> None:
        """Opens a file in a window of `width` CSS pixels and waits until it has loaded."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.errors, self.requests, self._loaded = [], [], False
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str):
        """The value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Writes the whole page, however long, as a PNG."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
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
        elif event == "Network.loadingFailed":
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
