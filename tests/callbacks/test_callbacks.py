import csv

import keras
import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.callbacks.conftest import fit


class TestSampleGrid:
    def cells(self, path, side=96, gap=2):
        """The images of a grid, cut out of its PNG and brought back to 16 x 16."""
        pixels = np.asarray(Image.open(path))
        rows, columns = ((n - gap) // (side + gap) for n in pixels.shape)
        steps = [gap + i * (side + gap) for i in range(max(rows, columns))]
        return np.stack(
            [
                pixels[y : y + side : 6, x : x + side : 6]
                for y in steps[:rows]
                for x in steps[:columns]
            ]
        )

    def test_shows_the_same_latents_and_the_originals_above_their_reconstructions(
        self, model, images, tmp_path
    ):
        grid = kmg.callbacks.SampleGrid(tmp_path / "grids", num=8, epochs=[2], seed=5)
        fit(model, images, grid, validation_data=(images[:8],))
        assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == [
            "reconstructions_epoch_0002.png",
            "samples_epoch_0002.png",
        ]
        samples = self.cells(tmp_path / "grids" / "samples_epoch_0002.png")
        expected = (model.generate(8, seed=5)[..., 0] * 255).round()
        np.testing.assert_array_equal(samples, expected)
        both = self.cells(tmp_path / "grids" / "reconstructions_epoch_0002.png")
        np.testing.assert_array_equal(both[:8], (images[:8, ..., 0] * 255).round())
        np.testing.assert_array_equal(
            both[8:], (model.reconstruct(images[:8])[..., 0] * 255).round()
        )

    @pytest.mark.parametrize(
        ("epochs", "written"), [(1, [1, 2, 3, 4]), (2, [2, 4]), ([1, 4], [1, 4]), ((3,), [3])]
    )
    def test_chooses_its_epochs(self, model, images, tmp_path, epochs, written):
        fit(model, images, kmg.callbacks.SampleGrid(tmp_path, num=2, epochs=epochs), epochs=4)
        names = sorted(path.name for path in tmp_path.glob("samples*"))
        assert names == [f"samples_epoch_{n:04d}.png" for n in written]

    @pytest.mark.parametrize("given", ["validation", "training", "uint8", "dataset"])
    def test_finds_images_to_reconstruct(self, model, images, tmp_path, given, write_npz):
        eight_bit = (images * 255).round().astype(np.uint8)
        grid = kmg.callbacks.SampleGrid(
            tmp_path, images=eight_bit[:3] if given == "uint8" else None, num=3
        )
        if given == "validation":
            fit(model, images, grid, epochs=1, validation_data=(images[5:8], None))
        elif given == "dataset":
            data = kmg.data.load(write_npz(train_images=eight_bit), batch_size=8)
            model.fit(data.train, validation_data=data.val, verbose=0, callbacks=[grid])
        else:
            fit(model, images, grid, epochs=1)
        originals = {
            "validation": images[5:8],
            "training": images[:3],
            "uint8": images[:3],
            "dataset": None if given != "dataset" else data.arrays("val")["images"],
        }[given]
        shown = self.cells(tmp_path / "reconstructions_epoch_0001.png")[: len(originals)]
        np.testing.assert_array_equal(shown, (originals[..., 0] * 255).round())

    @pytest.mark.parametrize("arguments", [{"num": 0}, {"epochs": 0}])
    def test_arguments_are_checked(self, tmp_path, arguments):
        with pytest.raises(ValueError, match="must be positive"):
            kmg.callbacks.SampleGrid(tmp_path, **arguments)


class TestLossCurves:
    def test_draws_every_term(self, model, images, tmp_path):
        curves = kmg.callbacks.LossCurves(tmp_path / "loss.png")
        fit(model, images, curves, validation_data=(images,))
        assert set(curves.history) == {
            *model.loss_terms,
            *(f"val_{name}" for name in model.loss_terms),
        }
        assert all(len(values) == 2 for values in curves.history.values())
        picture = np.asarray(Image.open(tmp_path / "loss.png"))
        assert picture.shape[1] > 2 * picture.shape[0]  # a panel each for three terms
        colours = np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)
        assert len(colours) > 20

    def test_draws_from_a_csv_that_reaches_back(self, model, images, tmp_path):
        path = tmp_path / "history.csv"
        for append in (False, True):
            log = keras.callbacks.CSVLogger(path, append=append)
            curves = kmg.callbacks.LossCurves(tmp_path / "loss.png", csv=path)
            fit(model, images, log, curves)
        with path.open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert len(losses) == 4
        assert curves.history["loss"] == losses
        assert "epoch" not in curves.history

    @pytest.mark.parametrize(("share", "epochs"), [(1e-9, [1, 6]), (1e9, [1, 2, 3, 4, 5, 6])])
    def test_drawing_takes_no_more_than_its_share(
        self, model, images, tmp_path, monkeypatch, share, epochs
    ):
        drawn, module = [], "keras_medgen.callbacks.loss_curves"
        monkeypatch.setattr(f"{module}.SHARE", share)
        monkeypatch.setattr(
            f"{module}.save_curves", lambda _, history: drawn.append(len(history["loss"]))
        )
        curves = kmg.callbacks.LossCurves(tmp_path / "loss.png")
        model.fit(images, epochs=6, verbose=0, callbacks=[curves])
        assert drawn == epochs


class TestTimeLimit:
    def test_ends_after_a_whole_epoch(self, model, images):
        history = model.fit(
            images, epochs=50, verbose=0, callbacks=[kmg.callbacks.TimeLimit(seconds=1e-3)]
        )
        assert len(history.history["loss"]) == 1

    def test_leaves_a_short_training_alone(self, model, images):
        history = model.fit(
            images, epochs=3, verbose=0, callbacks=[kmg.callbacks.TimeLimit(seconds=600)]
        )
        assert len(history.history["loss"]) == 3

    def test_seconds_must_be_positive(self):
        with pytest.raises(ValueError, match="seconds=0"):
            kmg.callbacks.TimeLimit(0)
