import keras
import numpy as np
import pytest

import keras_medgen as kmg


def make(units=3):
    """A model with random numbers of its own, and an optimizer with a state."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(0)),
            keras.layers.Dropout(0.5, seed=0),
            keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(1)),
        ]
    )
    model.compile(keras.optimizers.Adam(0.1), loss="mse")
    return model


def train(model, folder, epochs, *more):
    """Trains to so many epochs, from where a checkpoint says."""
    checkpoint = kmg.callbacks.Checkpoint(folder / "checkpoint.keras", folder / "history.csv")
    done = checkpoint.restore(model)
    log = keras.callbacks.CSVLogger(folder / "history.csv", append=done > 0)
    x = np.random.default_rng(0).normal(size=(12, 2))
    model.fit(
        x,
        x.sum(axis=1),
        batch_size=4,
        shuffle=False,
        epochs=epochs,
        initial_epoch=done,
        verbose=0,
        callbacks=[log, checkpoint, *more],
    )
    return done


def state(model):
    return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]


class StopWriting:
    """Makes `save` fail halfway through a file, from some call on."""

    def __init__(self, monkeypatch, call):
        save, self.calls = keras.Model.save, 0

        def failing(model, path, *args, **kwargs):
            self.calls += 1
            save(model, path, *args, **kwargs)
            if self.calls >= call:
                path.write_bytes(path.read_bytes()[:100])
                raise KeyboardInterrupt

        monkeypatch.setattr(keras.Model, "save", failing)


def test_goes_on_with_weights_optimizer_seeds_and_history(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    first = make()
    assert train(first, whole, 5) == 0
    assert train(make(), broken, 2) == 0
    second = make()
    assert train(second, broken, 5) == 2
    assert len(state(first)) > 10
    for ours, theirs in zip(state(first), state(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (whole / "history.csv").read_bytes() == (broken / "history.csv").read_bytes()
    third = make()
    assert train(third, broken, 5) == 5  # and trains no more
    np.testing.assert_array_equal(third.get_weights()[0], first.get_weights()[0])


def test_seconds_of_all_parts_count(tmp_path, monkeypatch):
    ticks = iter(range(0, 1000, 10))  # the clock is read at the begin, and after each epoch
    monkeypatch.setattr(kmg.callbacks.checkpoint.time, "monotonic", lambda: next(ticks))
    train(make(), tmp_path, 2)
    train(make(), tmp_path, 5)
    checkpoint = kmg.callbacks.Checkpoint(tmp_path / "checkpoint.keras")
    assert checkpoint.seconds == 0
    checkpoint.restore(make())
    assert checkpoint.seconds == 20 + 30


def test_what_is_half_written_does_not_count(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        StopWriting(patch, call=3)
        with pytest.raises(KeyboardInterrupt):
            train(make(), tmp_path, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.keras", "history.csv"}
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 3
    (tmp_path / "history.csv").write_text("torn")
    assert train(make(), tmp_path, 3) == 2
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 3


def test_an_epoch_that_diverged_is_not_kept(tmp_path):
    class Diverge(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[0].kernel.assign(np.full((2, 3), np.nan))

    train(make(), tmp_path, 4, Diverge())
    model = make()
    assert kmg.callbacks.Checkpoint(tmp_path / "checkpoint.keras").restore(model) == 2
    assert np.isfinite(model.get_weights()[0]).all()


def test_the_file_is_a_model(tmp_path):
    model = make()
    train(model, tmp_path, 1)
    loaded = keras.saving.load_model(tmp_path / "checkpoint.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"a \.keras file\. Received: path=weights\.h5"):
        kmg.callbacks.Checkpoint("weights.h5")
    train(make(), tmp_path, 1)
    checkpoint = kmg.callbacks.Checkpoint(tmp_path / "checkpoint.keras")
    with pytest.raises(ValueError, match="is no checkpoint of this model"):
        checkpoint.restore(make(units=4))
    checkpoint.path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is no checkpoint of this model"):
        checkpoint.restore(make())
