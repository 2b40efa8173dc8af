import numpy as np
import pytest
from PIL import Image

from keras_medgen.anomaly import AnomalyDetector, evaluate, sweep_timesteps
from keras_medgen.anomaly.sweep import validation_arguments


def test_a_row_for_each_timestep(blurring, splits, tmp_path):
    out = tmp_path / "sweep.png"
    arguments = {"num_draws": 2, "median": 3}
    table = sweep_timesteps(blurring, splits, (80, 20), out=out, **arguments)
    assert list(table.rows) == ["t = 80", "t = 20", "intensity threshold", "blurred image"]
    detector = AnomalyDetector(blurring, timestep=20, **arguments)
    detector.fit(**validation_arguments(splits["val"]))
    alone = evaluate(detector, **splits["test"])
    assert table.rows["t = 20"] == alone.rows["detector"]
    assert table.rows["blurred image"] == alone.rows["blurred image"]
    with Image.open(out) as picture:
        width, height = picture.size
        assert width > 2 * height  # six columns, two rows
        assert np.asarray(picture.convert("L")).std() > 20


def test_takes_what_load_returns(blurring, splits):
    class Data:
        def arrays(self, split):
            return splits[split]

    by_object, by_dict = (
        sweep_timesteps(blurring, data, (20,), condition=None) for data in (Data(), splits)
    )
    assert by_object == by_dict


def test_labels_alone_will_do(blurring, splits, tmp_path):
    for split in splits.values():
        del split["masks"], split["patients"]
    out = tmp_path / "sweep.png"
    table = sweep_timesteps(blurring, splits, (20,), out=out, shown=3)
    assert list(table.rows["t = 20"]) == ["image_auroc", "image_ap"]
    assert out.is_file()


def test_validation_images_by_what_is_known_of_them(splits):
    val = splits["val"]
    lesion = val["labels"] != 0
    found = validation_arguments(val)
    np.testing.assert_array_equal(found["healthy"], val["images"][~lesion])
    np.testing.assert_array_equal(found["images"], val["images"][lesion])
    np.testing.assert_array_equal(found["masks"], val["masks"][lesion])
    found = validation_arguments({"images": val["images"], "labels": val["labels"][:, None]})
    np.testing.assert_array_equal(found["healthy"], val["images"][~lesion])
    assert found["images"] is None
    found = validation_arguments({"images": val["images"]})
    np.testing.assert_array_equal(found["healthy"], val["images"])
    # Ill by its label, of a lesion that nobody has drawn: no use as either.
    val["masks"][0] = 0
    found = validation_arguments(val)
    assert len(found["healthy"]) + len(found["images"]) == len(lesion) - 1


def test_needs_timesteps(splits):
    with pytest.raises(ValueError, match=r"needs a diffusion model\. Received: object"):
        sweep_timesteps(object(), splits)
