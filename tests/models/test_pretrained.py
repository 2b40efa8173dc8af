"""The trained models that come with the project, and how they are found."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_medgen import models
from keras_medgen._files import file_digest
from keras_medgen.data.readers.registry import MEDMNIST
from keras_medgen.models import PRETRAINED, Pretrained, load_pretrained, pretrained
from tests.file_server import serving

LARGEST = 4 * 2**20  # bytes of a model's folder
NAMES = sorted(PRETRAINED)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The file of a tiny model that the registry knows as "tiny", and that is nowhere yet."""
    path = tmp_path / "elsewhere" / "tiny.keras"
    path.parent.mkdir()
    models.VAE((16, 16, 1), latent_dim=2, seed=3).save(path)
    facts = Pretrained("a VAE", (16, 16, 1), "nothing", "CC0", file_digest(path))
    monkeypatch.setattr(pretrained, "PRETRAINED", {"tiny": facts})
    monkeypatch.setattr(pretrained, "CHECKOUT", tmp_path / "checkout" / "saved_models")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    "folder", ["checkout/saved_models/tiny", "saved_models/tiny", "home/.keras/keras_medgen/tiny"]
)
def test_where_it_is_found(saved, tmp_path, folder):
    path = tmp_path / folder / "model.keras"
    path.parent.mkdir(parents=True)
    saved.rename(path)
    model = load_pretrained("tiny")
    assert isinstance(model, models.VAE)
    expected = models.VAE((16, 16, 1), latent_dim=2, seed=3)
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_where_keras_home_is_elsewhere(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    path = tmp_path / "keras/keras_medgen/tiny/model.keras"
    path.parent.mkdir(parents=True)
    saved.rename(path)
    assert isinstance(load_pretrained("tiny"), models.VAE)


@pytest.mark.parametrize("given", [True, False])
def test_it_is_downloaded_once(saved, tmp_path, given):
    folder = tmp_path / "models" if given else tmp_path / "home/.keras/keras_medgen"
    cache_dir = folder if given else None
    with serving(saved.read_bytes()) as server:
        release = f"http://127.0.0.1:{server.server_port}/release/"
        first = load_pretrained("tiny", cache_dir, release)
        second = load_pretrained("tiny", cache_dir, release)
        assert server.requests == ["/release/tiny.keras"]
    assert [path.name for path in (folder / "tiny").iterdir()] == ["model.keras"]
    np.testing.assert_array_equal(first.generate(2, seed=0), second.generate(2, seed=0))


def test_what_comes_must_be_what_was_published(saved, tmp_path):
    with serving(b"<html>Log in first</html>") as server:
        release = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ConnectionError, match=r"what came has the SHA-256 ") as error:
            load_pretrained("tiny", tmp_path / "models", release)
    digest = file_digest(saved)
    assert f"put it into cache_dir/tiny as model.keras (SHA-256 {digest})" in str(error.value)
    assert list((tmp_path / "models/tiny").iterdir()) == []


def test_another_file_of_the_name_is_refused_and_left(saved, tmp_path):
    path = tmp_path / "saved_models/tiny/model.keras"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"my own")
    with pytest.raises(ValueError, match=r"model\.keras in \./saved_models/tiny is not the pub"):
        load_pretrained("tiny")
    assert path.read_bytes() == b"my own"


def test_nowhere_and_no_release(saved):
    with pytest.raises(FileNotFoundError, match=r"tiny is in none of .*give as release the URL"):
        load_pretrained("tiny")


def test_another_name():
    with pytest.raises(ValueError, match=r"name must be one of .*Received: name='mnist'"):
        load_pretrained("mnist")


@pytest.mark.parametrize("name", NAMES)
class TestPublished:
    """What stands in saved_models, of each."""

    def test_model(self, name):
        model, facts = load_pretrained(name), PRETRAINED[name]
        assert model.image_shape == facts.image_shape
        assert not model.compiled
        labels = None if model.num_classes is None else [0, model.num_classes - 1]
        images = model.generate(2, labels=labels, seed=0)
        assert 0.05 < images.std() < 0.5  # neither grey nor noise of black and white
        assert np.abs(images[0] - images[1]).mean() > 0.01

    def test_saved_model_is_the_same(self, name):
        model = load_pretrained(name)
        folder = pretrained.CHECKOUT / name / "1"
        generate = tf.saved_model.load(str(folder)).signatures["generate"]
        given = {} if model.num_classes is None else {"label": tf.constant([1])}
        found = generate(seed=tf.constant([5]), **given)["images"].numpy()
        labels = None if model.num_classes is None else [1]
        np.testing.assert_allclose(found, model.generate(1, labels=labels, seed=5), atol=1e-4)

    def test_what_stands_beside_it(self, name):
        folder = pretrained.CHECKOUT / name
        for file in ("samples.png", "report/report.html", "report/model_card.md"):
            assert (folder / file).is_file()
        metrics = json.loads((folder / "report/metrics.json").read_text())
        assert metrics["model"]["image_shape"] == list(PRETRAINED[name].image_shape)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size < LARGEST
        assert (folder / "samples.png").stat().st_size < 300e3

    def test_its_images_may_be_used(self, name):
        licence, source = PRETRAINED[name].licence, PRETRAINED[name].source
        record = json.loads((pretrained.CHECKOUT / name / "run.json").read_text())
        assert record["data"]["licence"] == licence
        assert record["data"]["source"] == source
        known = {MEDMNIST[one].licence for one in ("pneumoniamnist", "breastmnist")}
        assert licence in known | {"CC0 1.0"}
