import dataclasses
import hashlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_medgen import _download
from keras_medgen.data.readers.download import find_or_download, native_side
from keras_medgen.data.readers.registry import MEDMNIST, File
from tests.file_server import serving


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    return folder


@pytest.fixture
def content(write_npz):
    path = write_npz("served.npz", train_images=np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251)
    return path.read_bytes()


@pytest.fixture
def server(content):
    with serving(content) as server:
        yield server


@pytest.fixture
def dataset(server, content):
    """A set of the registry, but for its one file, which the server has."""
    url = f"http://127.0.0.1:{server.server_port}/breastmnist.npz?download=1"
    file = File(url, hashlib.md5(content).hexdigest())
    return dataclasses.replace(MEDMNIST["breastmnist"], files={28: file})


@pytest.mark.parametrize(
    ("name", "image_size", "side"),
    [
        ("breastmnist", None, 28),
        ("breastmnist", 16, 28),
        ("breastmnist", 28, 28),
        ("breastmnist", 29, 64),
        ("breastmnist", 64, 64),
        ("breastmnist", 100, 128),
        ("breastmnist", 224, 224),
        ("breastmnist", 512, 224),
        ("organmnist3d", None, 28),
        ("organmnist3d", 32, 64),
        ("organmnist3d", 128, 64),
    ],
)
def test_native_side(name, image_size, side):
    assert native_side(MEDMNIST[name], image_size) == side


class TestDownload:
    @pytest.mark.parametrize("given", [True, False])
    def test_happens_once(self, dataset, server, content, home, tmp_path, capsys, given):
        folder = tmp_path / "new/data" if given else home / ".medmnist"
        data_dir = folder if given else None
        path = find_or_download(dataset, 28, data_dir)
        assert path == folder / "breastmnist.npz"
        assert path.read_bytes() == content
        assert server.requests == ["/breastmnist.npz?download=1"]
        assert find_or_download(dataset, 28, data_dir) == path
        assert len(server.requests) == 1
        assert list(folder.iterdir()) == [path]
        # No terminal here: one line, and no bar.
        assert (
            capsys.readouterr().err == f"Downloading breastmnist.npz from {dataset.files[28].url}\n"
        )
        assert keras.config.is_interactive_logging_enabled()
        assert socket.getdefaulttimeout() is None

    def test_is_seen_by_nobody_until_it_is_whole(self, dataset, server, content, tmp_path):
        seen = []

        def slowly(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[:100])
            handler.wfile.flush()
            deadline = time.monotonic() + 5
            while not list(tmp_path.glob("*/*/breastmnist.npz")) and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.extend(tmp_path.glob("data/*"))
            handler.wfile.write(content[100:])

        server.answer = slowly
        path = find_or_download(dataset, 28, tmp_path / "data")
        assert [entry.suffix.startswith(".partial-") for entry in seen] == [True]
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    def test_two_at_once(self, dataset, server, content, home, tmp_path):
        both = threading.Barrier(2)

        def together(handler):
            both.wait(5)
            server.whole(handler)

        server.answer = together
        paths = []
        threads = [
            threading.Thread(target=lambda: paths.append(find_or_download(dataset, 28, tmp_path)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [path.read_bytes() == content for path in paths] == [True, True]
        assert len(server.requests) == 2
        assert not list(tmp_path.glob("*.partial-*"))
        assert socket.getdefaulttimeout() is None

    def test_shows_a_bar_on_a_terminal(self, dataset, content, home, monkeypatch, capsys):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        find_or_download(dataset, 28)
        assert f"{len(content)}/{len(content)}" in capsys.readouterr().out

    def test_what_a_killed_one_left_is_removed_a_day_later(self, dataset, home, tmp_path):
        for name, age in (("old", 2), ("new", 0.5)):
            partial = tmp_path / f"breastmnist.npz.partial-{name}"
            partial.mkdir()
            (partial / "breastmnist.npz").write_bytes(b"PK")
            then = time.time() - age * 24 * 3600
            for path in (partial / "breastmnist.npz", partial):
                os.utime(path, (then, then))
        find_or_download(dataset, 28, tmp_path)
        assert [path.name for path in tmp_path.glob("*.partial-*")] == [
            "breastmnist.npz.partial-new"
        ]

    def test_a_side_that_is_not_published(self, dataset, server):
        with pytest.raises(ValueError, match=r"breastmnist is published.*\[28\].*side=64"):
            find_or_download(dataset, 64)
        assert not server.requests


class TestFailedDownload:
    """Says what to put where, and leaves nothing behind."""

    def fails(self, dataset, folder, reason, where="data_dir"):
        """Tries, and checks all but the reason."""
        with pytest.raises(ConnectionError) as error:
            find_or_download(dataset, 28, folder if where == "data_dir" else None)
        message = str(error.value)
        assert message.startswith("breastmnist.npz could not be downloaded (")
        assert reason in message.split("). ")[0]
        file = dataset.files[28]
        assert file.url in message
        assert f"put it into {where} as breastmnist.npz (MD5 {file.md5})" in message
        assert str(folder) not in message
        assert list(folder.iterdir()) == []
        assert keras.config.is_interactive_logging_enabled()
        assert socket.getdefaulttimeout() is None

    def test_wrong_md5(self, dataset, server, home, tmp_path):
        other = b"<html>Too many requests</html>"
        server.answer = lambda handler: server.whole(handler, other)
        received = hashlib.md5(other).hexdigest()
        self.fails(dataset, tmp_path / "data", f"what came has the MD5 {received}")

    def test_not_found(self, dataset, server, home):
        server.answer = lambda handler: handler.send_error(404, "Not Found")
        self.fails(dataset, home / ".medmnist", "HTTP 404 Not Found", "~/.medmnist")

    def test_broken_off(self, dataset, server, content, home, tmp_path):
        server.answer = lambda handler: server.whole(handler, content[:200], len(content))
        self.fails(dataset, tmp_path / "data", f"got only 200 out of {len(content)} bytes")

    def test_offline(self, dataset, server, home, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/breastmnist.npz"
        file = dataclasses.replace(dataset.files[28], url=url)
        dataset = dataclasses.replace(dataset, files={28: file})
        self.fails(dataset, tmp_path / "data", "Connection refused")
        assert not server.requests

    def test_a_server_that_falls_silent(self, dataset, server, home, tmp_path, monkeypatch):
        monkeypatch.setattr(_download, "LONGEST_SILENCE", 0.2)
        done = threading.Event()
        server.answer = lambda handler: done.wait(10)
        try:
            self.fails(dataset, tmp_path / "data", "timed out")
        finally:
            done.set()

    def test_interrupted(self, dataset, server, home, tmp_path, monkeypatch):
        def interrupt(fname, origin, *, cache_dir, **_):
            (Path(cache_dir) / fname).write_bytes(b"PK")
            raise KeyboardInterrupt

        monkeypatch.setattr(keras.utils, "get_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            find_or_download(dataset, 28, tmp_path / "data")
        assert list((tmp_path / "data").iterdir()) == []
        assert keras.config.is_interactive_logging_enabled()

    def test_a_folder_that_is_a_file(self, dataset, server, home, tmp_path):
        (tmp_path / "data").write_text("mine")
        with pytest.raises(OSError, match=r"breastmnist.npz cannot be written to data_dir \("):
            find_or_download(dataset, 28, tmp_path / "data")
        assert (tmp_path / "data").read_text() == "mine"
        assert not server.requests


class TestFound:
    def test_in_the_first_folder_that_has_it(self, dataset, server, content, home, tmp_path):
        folders = [tmp_path / "data", home / ".medmnist", home / ".keras/datasets"]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "breastmnist.npz").write_bytes(content)
        for folder in folders:
            assert find_or_download(dataset, 28, tmp_path / "data") == folder / "breastmnist.npz"
            (folder / "breastmnist.npz").unlink()
        assert not server.requests

    def test_where_keras_home_is_elsewhere(
        self, dataset, server, content, home, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        (tmp_path / "keras/datasets").mkdir(parents=True)
        (tmp_path / "keras/datasets/breastmnist.npz").write_bytes(content)
        assert find_or_download(dataset, 28) == tmp_path / "keras/datasets/breastmnist.npz"
        assert not server.requests

    @pytest.mark.parametrize(
        ("folder", "where"),
        [
            ("data", "data_dir"),
            ("home/.medmnist", "~/.medmnist"),
            ("home/.keras/datasets", "~/.keras/datasets"),
        ],
    )
    def test_another_file_of_the_name_is_refused_and_left(
        self, dataset, server, home, tmp_path, folder, where
    ):
        path = tmp_path / folder / "breastmnist.npz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"my own")
        with pytest.raises(ValueError, match=r"^breastmnist.npz in ") as error:
            find_or_download(dataset, 28, tmp_path / "data")
        assert f"breastmnist.npz in {where} is not" in str(error.value)
        assert f"expected the MD5 {dataset.files[28].md5}" in str(error.value)
        assert f"Received: {hashlib.md5(b'my own').hexdigest()}" in str(error.value)
        assert str(tmp_path) not in str(error.value)
        assert path.read_bytes() == b"my own"
        assert not server.requests

    def test_real_files(self, test_data, home):
        path = find_or_download(MEDMNIST["pneumoniamnist"], 28, test_data)
        assert path == test_data / "pneumoniamnist.npz"
