"""These tests make no Keras models: there is no session to clear, half a second each."""

import pytest


@pytest.fixture(autouse=True)
def _clean_keras():
    return
