"""A server of the tiny model, in this process and without sockets."""

import types

import pytest
from starlette.testclient import TestClient

from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.predictor import Predictor
from keras_medgen.serving.server.repository import Repository
from keras_medgen.serving.server.rest import application
from tests.serving.server import tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A folder of models with one model, "tiny", whose one version is 3."""
    folder = tmp_path_factory.mktemp("models")
    tiny_model.save(folder / "tiny" / "3", version=3)
    return folder


@pytest.fixture(scope="module")
def serving(tiny_folder):
    """The parts of a server: repository, predictor, metrics, app, and a client of it."""
    repository = Repository(tiny_folder, labels={"stable": 3, "old": 1})
    repository.start()
    limits, metrics = Limits(max_batch_rows=64, max_body_bytes=100_000), Metrics()
    predictor = Predictor(repository, limits, metrics)
    app = application(predictor, repository, limits, metrics)
    with TestClient(app) as client:
        yield types.SimpleNamespace(**locals())
    predictor.stop(10)
    repository.stop()


@pytest.fixture(scope="module")
def client(serving):
    return serving.client
