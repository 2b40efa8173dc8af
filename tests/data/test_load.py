import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_medgen as kmg
from tests.conftest import blobs


@pytest.fixture
def path(rng, write_npz):
    images = blobs(rng, 50, (24, 20, 1))
    return write_npz(train_images=images, train_labels=np.arange(50) % 2)


class TestDatasets:
    def test_batches_are_dicts_of_unit_images_and_labels(self, path):
        data = kmg.data.load(path, batch_size=8)
        batch = next(iter(data.train))
        assert set(batch) == {"images", "labels"}
        assert batch["images"].shape == (8, 24, 20, 1)
        assert batch["images"].dtype == tf.float32
        assert batch["labels"].dtype == tf.int32
        assert 0 <= batch["images"].numpy().min() < batch["images"].numpy().max() <= 1

    def test_every_epoch_holds_every_image_once_in_an_order_of_its_own(self, path):
        data = kmg.data.load(path, batch_size=8)
        stored = data.arrays("train")["images"]
        epochs = [np.concatenate([b["images"] for b in data.train]) for _ in range(2)]
        assert (epochs[0] != epochs[1]).any()
        for epoch in epochs:
            assert (epoch != stored).any()
            np.testing.assert_array_equal(
                np.unique(epoch.reshape(40, -1), axis=0), np.unique(stored.reshape(40, -1), axis=0)
            )

    def test_the_seed_decides_the_order(self, path):
        first, again = (
            [b["labels"].numpy() for b in kmg.data.load(path, batch_size=8, seed=3).train]
            for _ in range(2)
        )
        for ours, theirs in zip(first, again, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_labels_stay_with_their_images(self, path):
        data = kmg.data.load(path, batch_size=8)
        stored = data.arrays("train")
        label_of = {i.tobytes(): n for i, n in zip(stored["images"], stored["labels"], strict=True)}
        for batch in data.train:
            for image, label in zip(batch["images"].numpy(), batch["labels"].numpy(), strict=True):
                assert label_of[image.tobytes()] == label

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_val_and_test_keep_the_order_of_their_arrays(self, path, split):
        data = kmg.data.load(path, batch_size=2)
        batches = np.concatenate([b["images"] for b in getattr(data, split)])
        np.testing.assert_array_equal(batches, data.arrays(split)["images"])

    def test_it_says_what_it_is(self, path):
        text = repr(kmg.data.load(path))
        assert "scans.npz" in text
        assert "train 40, val 5, test 5" in text


class TestResizing:
    @pytest.fixture
    def picture(self):
        from skimage.data import immunohistochemistry

        return immunohistochemistry()[:300, :200]

    def resized(self, write_npz, picture, image_size, **arguments):
        images = np.stack([picture] * 12)
        data = kmg.data.load(write_npz(train_images=images), image_size=image_size, **arguments)
        return (data.arrays("train")["images"][0] * 255).round()

    def test_stretch_is_near_pillow_lanczos(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48, resize="stretch")
        pillow = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.LANCZOS))
        assert ours.shape == (48, 48, 3)
        assert np.abs(ours - pillow).mean() < 0.2
        assert np.abs(ours - pillow).max() <= 2

    def test_crop_takes_the_central_square(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48, resize="crop")
        square = Image.fromarray(picture[50:250]).resize((48, 48), Image.Resampling.LANCZOS)
        assert np.abs(ours - np.asarray(square)).mean() < 0.2

    def test_pad_keeps_the_proportions_on_black(self, write_npz, picture):
        ours = self.resized(write_npz, picture, 48)
        assert (ours[:, :8] == 0).all()
        assert (ours[:, 40:] == 0).all()
        inside = Image.fromarray(picture).resize((32, 48), Image.Resampling.LANCZOS)
        assert np.abs(ours[:, 8:40] - np.asarray(inside)).mean() < 0.2

    def test_floating_point_images_stay_in_range(self, write_npz, rng):
        sharp = (rng.random((12, 40, 40)) > 0.5).astype(np.float32)
        data = kmg.data.load(write_npz(train_images=sharp), image_size=24)
        images = data.arrays("train")["images"]
        assert images.min() == 0
        assert images.max() == 1
        assert "resized to 24 x 24 (pad, Lanczos)" in data.provenance["preprocessing"][-1]

    def test_channels(self, write_npz, picture):
        grey = self.resized(write_npz, picture, 48, resize="stretch", channels=1)
        colour = self.resized(write_npz, picture, 48, resize="stretch")
        assert grey.shape == (48, 48, 1)
        assert np.abs(grey[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= 0.51
        again = self.resized(write_npz, picture[..., 0], 48, channels=3)
        assert again.shape == (48, 48, 3)
        assert (again[..., :1] == again).all()
        with pytest.raises(ValueError, match="channels=3 for images of 2"):
            self.resized(write_npz, picture[..., :2], 48, channels=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "chestmnist"}, ValueError, "'retina_patches'.*source='chestmnist'"),
        ({"source": "nowhere.npz"}, FileNotFoundError, "nowhere.npz"),
        ({"source": "."}, ValueError, "not an .npz"),
        ({"image_size": 0}, ValueError, "image_size=0"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"channels": 2}, ValueError, "channels=2"),
        ({"resize": "squash"}, ValueError, "resize='squash'"),
        ({"validation_fraction": 0.0}, ValueError, "validation_fraction=0.0"),
        ({"test_fraction": 0.7}, ValueError, "test_fraction=0.7"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        kmg.data.load(**{"source": "histology_patches", **arguments})
