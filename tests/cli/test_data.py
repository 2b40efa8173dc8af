import json

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from keras_medgen.cli import options
from tests.conftest import textures


@pytest.fixture
def scans(tmp_path, rng):
    """20 images in two classes, a copy across them, and a file that is no image."""
    pictures = textures(rng, 20, (24, 24, 1))[..., 0]
    for i, picture in enumerate(pictures):
        place = tmp_path / "scans" / ("benign" if i < 12 else "malignant")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{i}.png")
    Image.fromarray(pictures[0]).save(tmp_path / "scans" / "malignant" / "copy.png")
    (tmp_path / "scans" / "benign" / "bad.png").write_bytes(b"no image")
    return tmp_path / "scans"


class TestInspect:
    def test_says_what_a_source_holds(self, call, scans):
        code, out, _ = call("data", "inspect", scans)
        assert code == 0
        assert "21 used of 22 found" in out
        assert "24 x 24 pixels, 1 channels" in out
        counts = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
        assert sum(map(int, counts["benign"])) == 12
        assert sum(map(int, counts["malignant"])) == 9
        assert "copies        1 exact; near duplicates: 0 pairs" in out
        assert "left out      not an image that Pillow can read: bad.png" in out
        sheet = Image.open(call.folder / "contact_sheet.png")
        assert sheet.size[0] > 12 * 96  # twelve images in a row
        assert np.asarray(sheet).std() > 20

    def test_a_file_with_a_leak(self, call, rng, write_npz):
        images = textures(rng, 40)[..., 0]
        path = write_npz(
            train_images=images[:30], val_images=images[20:35], test_images=images[35:]
        )
        code, out, _ = call("data", "inspect", path, "--out", "sheets/a.png")
        assert code == 0
        assert "leak          10 images of val stand in train too (10 exactly)" in out
        assert (call.folder / "sheets" / "a.png").exists()

    def test_one_patient_can_be_looked_at(self, call, tmp_path, rng):
        nibabel = pytest.importorskip("nibabel")
        volume = textures(rng, 6, (24, 20, 1))[..., 0].transpose(1, 2, 0)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 2, 3, 1])), tmp_path / "brain.nii")
        code, out, _ = call("data", "inspect", tmp_path / "brain.nii")
        assert code == 0
        assert "6 used of 6 found" in out
        assert "40 x 24 pixels" in out  # the voxels are twice as long as they are wide
        assert (call.folder / "contact_sheet.png").exists()

    def test_a_sheet_that_is_no_png(self, call, scans):
        code, out, err = call("data", "inspect", scans, "--out", "sheet.txt")
        assert (code, out) == (2, "")
        assert err == "keras-medgen: --out must name a .png file. Received: --out sheet.txt.\n"

    def test_a_source_that_is_none(self, call):
        code, _, err = call("data", "inspect", "nowhere/scans")
        assert code == 2
        assert err == "keras-medgen: There is no file or folder nowhere/scans.\n"


class TestPrepare:
    def test_what_it_writes_trains(self, call, scans):
        code, out, _ = call("data", "prepare", scans, "prepared", "--image-size", 16)
        assert code == 0
        assert "prepared: 21 images" in out
        again = call("data", "prepare", scans, "prepared", "--image-size", 16)
        assert again[0] == 0
        arguments = ("--latent-dim", 4, "--batch-size", 8, "--epochs", 1, "--out", "run")
        assert call("train", "--data", "prepared", *arguments)[0] == 0
        record = json.loads((call.folder / "run" / "run.json").read_text())
        assert record["data"]["source"] == "scans"
        assert record["data"]["report"]["left_out"] == {
            "not an image that Pillow can read": {"images": 1, "first": ["bad.png"]}
        }
        assert str(scans.parent) not in json.dumps(record)

    def test_other_settings_are_refused(self, call, scans):
        call("data", "prepare", scans, "prepared", "--image-size", 16)
        code, _, err = call("data", "prepare", scans, "prepared", "--image-size", 20)
        assert code == 2
        assert "another source or of other settings" in err


class TestOptions:
    def test_window(self):
        assert options.parse_window(None) is None
        assert options.parse_window("lung") == "lung"
        assert options.parse_window("40,400") == (40.0, 400.0)
        with pytest.raises(ValueError, match="--window 40,wide"):
            options.parse_window("40,wide")

    def test_augment(self):
        assert options.parse_augment(None) is None
        given = options.parse_augment("flip_horizontal, rotation=10,fill=edge")
        assert given == kmg.data.augment(flip_horizontal=True, rotation=10, fill="edge")

    def test_train_takes_them(self, call, scans):
        arguments = ("--latent-dim", 4, "--batch-size", 8, "--epochs", 1, "--out", "run")
        more = ("--image-size", 16, "--balance", "--augment", "flip_horizontal", "--deduplicate")
        assert call("train", "--data", scans, *arguments, *more, "drop")[0] == 0
        record = json.loads((call.folder / "run" / "run.json").read_text())
        assert record["settings"]["augment"] == "flip_horizontal"
        assert record["settings"]["balance"] is True
        assert record["data"]["report"]["used"] == 20
        assert "flipped" in record["data"]["augmentation"]
