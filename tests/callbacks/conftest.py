import numpy as np
import pytest

from tests.conftest import blobs
from tests.models.contract import MODELS


@pytest.fixture
def model():
    model = MODELS["VAE"].make(0)
    model.compile()
    return model


@pytest.fixture
def images(rng):
    return blobs(rng, 24).astype(np.float32) / 255


def fit(model, images, *callbacks, epochs=2, **arguments):
    model.fit(images, epochs=epochs, batch_size=8, verbose=0, callbacks=callbacks, **arguments)
