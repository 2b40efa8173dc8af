import itertools
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from keras_medgen.serving.server import run

# Writes what it was called with, and the config that it was given, beside itself.
FAKE = f"""#!{sys.executable}
import json, pathlib, sys, time
here, arguments = pathlib.Path(sys.argv[0]), sys.argv[1:]
configs = [part for one in arguments for part in one.replace("=", ":").split(":")]
configs = [path for path in map(pathlib.Path, configs) if path.is_file()]
told = {{"arguments": arguments, "config": "".join(path.read_text() for path in configs)}}
here.with_suffix(".json").write_text(json.dumps(told))
time.sleep(float((here.parent / "seconds").read_text()))
sys.exit(int((here.parent / "code").read_text()))
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Puts programs that only tell what they were called with on an otherwise empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "seconds").write_text("0")
    (folder / "code").write_text("0")
    monkeypatch.setenv("PATH", str(folder))

    def install(*names):
        for name in names:
            (folder / name).write_text(FAKE)
            (folder / name).chmod(0o755)
        return folder

    return install


@pytest.fixture
def served(monkeypatch):
    """What the built-in server was called with; it does not start."""
    calls = []
    monkeypatch.setattr(run, "serve", lambda *arguments: calls.append(arguments))
    return calls


@pytest.fixture
def models(call):
    for name in ("retina", "chest"):
        (call.folder / "models" / name / "1").mkdir(parents=True)
    return call.folder / "models"


def told(folder, name):
    found = json.loads((folder / f"{name}.json").read_text())
    config = text_format.Parse(found["config"], model_server_config_pb2.ModelServerConfig())
    entries = {one.name: one.base_path for one in config.model_config_list.config}
    assert all(one.model_platform == "tensorflow" for one in config.model_config_list.config)
    return found["arguments"], entries


class TestModelServer:
    def test_one_model(self, call, models, programs):
        folder = programs("tensorflow_model_server", "docker")
        code, out, err = call("serve", models / "retina", "--rest-port", 9001, "--docker")
        assert code == 0, err
        assert out.startswith("tensorflow_model_server, models: retina\n")
        assert "all addresses" in out
        assert told(folder, "tensorflow_model_server") == (
            [
                "--port=8500",
                "--rest_api_port=9001",
                "--model_name=retina",
                f"--model_base_path={models / 'retina'}",
            ],
            {},
        )
        assert not (folder / "docker.json").exists()

    def test_a_folder_of_models(self, call, models, programs):
        folder = programs("tensorflow_model_server")
        code, out, err = call("serve", "models", "--grpc-port", 9000)
        assert code == 0, err
        assert "models: chest, retina" in out
        arguments, entries = told(folder, "tensorflow_model_server")
        assert arguments[:2] == ["--port=9000", "--rest_api_port=8501"]
        name, _, path = arguments[2].partition("=")
        assert (name, len(arguments)) == ("--model_config_file", 3)
        assert not Path(path).exists()  # any more
        assert entries == {name: str(models / name) for name in ("retina", "chest")}

    def test_its_exit_code_is_ours(self, call, models, programs):
        folder = programs("tensorflow_model_server")
        (folder / "code").write_text("3")
        assert call("serve", models)[0] == 3

    def test_sigterm_is_handed_on(self, call, models, programs):
        folder = programs("tensorflow_model_server")
        (folder / "seconds").write_text("30")

        def stop():
            while not (folder / "tensorflow_model_server.json").exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        handler = signal.getsignal(signal.SIGTERM)
        threading.Thread(target=stop).start()
        start = time.monotonic()
        code, _, _ = call("serve", models)
        assert code == 128 + signal.SIGTERM  # as a shell has it
        assert time.monotonic() - start < 20
        assert signal.getsignal(signal.SIGTERM) is handler


class TestDocker:
    def test_the_official_image(self, call, models, programs):
        folder = programs("docker")
        code, out, err = call("serve", "models", "--docker", "--rest-port", 9001)
        assert code == 0, err
        assert out.startswith("tensorflow/serving by Docker at http://127.0.0.1:9001")
        arguments, entries = told(folder, "docker")
        assert arguments[:3] == ["run", "--rm", "--init"]
        pairs = itertools.pairwise(arguments)
        options = [value for option, value in pairs if option in ("-p", "-v")]
        config = options.pop()
        assert options == [
            "127.0.0.1:9001:8501",
            "127.0.0.1:8500:8500",
            f"{models / 'chest'}:/models/chest:ro",
            f"{models / 'retina'}:/models/retina:ro",
        ]
        assert config.endswith(":/models/models.config:ro")
        assert arguments[-2:] == [
            "tensorflow/serving",
            "--model_config_file=/models/models.config",
        ]
        assert entries == {name: f"/models/{name}" for name in ("chest", "retina")}

    def test_without_docker(self, call, models, programs, served):
        programs()
        code, _, err = call("serve", models, "--docker")
        assert code == 2
        assert "docker on the PATH" in err
        assert not served


class TestBuiltIn:
    def test_when_there_is_no_other(self, call, models, programs, served):
        programs("docker")
        code, out, err = call("serve", "models", "--host", "0.0.0.0", "--grpc-port", 9000)
        assert code == 0, err
        assert "there is no tensorflow_model_server on the PATH" in out
        assert "http://0.0.0.0:8501 and grpc://0.0.0.0:9000" in out
        assert served == [(models, "0.0.0.0", 8501, 9000)]

    def test_an_address_of_ipv6_stands_in_brackets(self, call, models, programs, served):
        programs("docker")
        _, out, _ = call("serve", "models", "--host", "::1")
        assert "http://[::1]:8501 and grpc://[::1]:8500" in out
        assert served == [(models, "::1", 8501, 8500)]
        assert "at http://[::1]:8501," in call("serve", "models", "--host", "::1", "--docker")[1]

    def test_when_it_is_asked_for(self, call, models, programs, served):
        folder = programs("tensorflow_model_server")
        assert call("serve", models, "--builtin")[0] == 0
        assert served == [(models, "127.0.0.1", 8501, 8500)]
        assert not (folder / "tensorflow_model_server.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["empty"], "empty holds no model"),
        (["models/retina/1"], "holds no model"),
        (["models", "--rest-port", "70000"], "--rest-port"),
        ([], "Missing argument"),
    ],
)
def test_errors(call, models, served, arguments, message):
    (call.folder / "empty").mkdir()
    code, _, err = call("serve", *arguments)
    assert code == 2
    assert message in err
    assert not served


def test_only_the_built_in_server_needs_the_extra(call, models, programs, monkeypatch):
    programs("tensorflow_model_server")
    for name in list(sys.modules):
        if name.startswith("keras_medgen.serving.server"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert call("serve", models)[0] == 0
    code, _, err = call("serve", models, "--builtin")
    assert code == 2
    assert "pip install 'keras_medgen[serve]'" in err


def test_the_list_of_the_models_that_come_with_the_package():
    folder = Path(__file__).parents[2] / "saved_models"
    text = (folder / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    listed = {one.name: one.base_path for one in config.model_config_list.config}
    there = [path.parent.parent.name for path in folder.glob("*/*/saved_model.pb")]
    assert listed == {name: f"/models/{name}" for name in there}
