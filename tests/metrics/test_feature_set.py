import dataclasses

import numpy as np
import pytest

from keras_medgen.metrics import Features


def test_features_know_what_they_are():
    features = Features(np.ones((3, 2), np.float32), "randconv-v1/2", "ab")
    assert features.values.dtype == np.float64
    assert len(features) == 3
    assert features.label == "randconv-v1/2,N=3"
    with pytest.raises(dataclasses.FrozenInstanceError):
        features.name = "inception"
    fewer = dataclasses.replace(features, values=features.values[:1])
    assert fewer.label == "randconv-v1/2,N=1"


@pytest.mark.parametrize("values", [np.ones(3), np.full((3, 2), np.nan)])
def test_features_are_checked(values):
    with pytest.raises(ValueError, match="values must be"):
        Features(values, "randconv-v1/2", "ab")
