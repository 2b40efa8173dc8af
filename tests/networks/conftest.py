"""These tests make small networks only: sessions need no clearing, half a second each."""

import keras
import pytest


@pytest.fixture(autouse=True)
def _clean_keras():
    yield
    keras.config.set_dtype_policy("float32")
