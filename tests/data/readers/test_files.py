"""Whole folders of real files through `load`: each used, or left out with its reason."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import keras_medgen as kmg
from tests.conftest import textures
from tests.data.readers.test_pictures import ODD

LEFT_OUT = {
    "dicom": {
        "badVR.dcm": "NumberOfFrames",
        "decimal_rescale.dcm": "all pixels are -4096",
        "liver_1frame.dcm": "segmentation",
        "liver_rle.dcm": "segmentation",
        "MR_truncated.dcm": "cut short",
        "no_meta.dcm": "not a DICOM file",
        "rtdose.dcm": "radiotherapy dose",
        "rtplan.dcm": "no pixel data",
        "test-SR.dcm": "no pixel data",
    },
    "nifti": {
        "monai_anatomical_label.nii.gz": "a mask without a volume",
        "monai_reoriented_anat_moved_label.nii.gz": "a mask without a volume",
        "row_major.dconn.nii": "CIFTI|not an image|surface|connectivity",
    },
    "odd_images": {name: reason for name, reason in ODD.items() if isinstance(reason, str)}
    | {"tRNS_null_1x1.png": "all pixels are"},
}


@pytest.mark.parametrize("kind", sorted(LEFT_OUT))
def test_every_file_is_used_or_left_out_with_its_reason(test_data, kind):
    folder = test_data / "files" / kind
    if kind == "dicom":
        pytest.importorskip("pydicom")
    if kind == "nifti":
        pytest.importorskip("nibabel")
    data = kmg.data.load(folder, image_size=32, channels=1, cache="none")
    report = data.report
    assert report.found == report.used + len(report.left_out)
    left_out = {name: reason for name, reason in report.left_out if "slice" not in name}
    pages = {name for name in left_out if " page " in name}  # of animations, all of one colour
    assert all("all pixels are" in left_out[name] for name in pages)
    expected = LEFT_OUT[kind]
    assert set(left_out) - pages == set(expected)
    for name, reason in expected.items():
        assert re.search(reason, left_out[name]), (name, left_out[name])
    names = {path.name for path in folder.iterdir()}
    seen = [example.name for example in data.store.examples] + list(left_out)
    seen = {re.sub(r" (page|frame|volume|slice) .*", "", name) for name in seen}
    assert seen == names - {"brats_pat0006_seg.nii.gz"}  # it is a mask, and used as such
    assert str(test_data) not in json.dumps(data.provenance) + json.dumps(report.left_out)
    for split in ("train", "val", "test"):
        images = data.arrays(split)["images"]
        assert 0 <= images.min() < images.max() <= 1
        assert np.isfinite(images).all()


def test_dicom_and_pictures_in_one_folder(test_data, tmp_path, rng):
    pytest.importorskip("pydicom")
    for path in (test_data / "files" / "dicom").glob("MR_small*.dcm"):
        (tmp_path / path.name).symlink_to(path)
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / f"{i}.png")
    data = kmg.data.load(tmp_path, image_size=32, cache="none")
    assert data.image_shape == (32, 32, 1)
    assert {example.eight_bit for example in data.store.examples} == {True, False}


def test_masks_of_volumes_by_manifest(tmp_path, rng):
    nibabel = pytest.importorskip("nibabel")
    lines = ["path,mask"]
    (tmp_path / "lesions").mkdir()
    for i in range(6):
        volume = textures(rng, 5, (24, 20, 1))[..., 0].transpose(1, 2, 0).astype(np.float32)
        for name, array in ((f"v{i}", volume), (f"lesions/{i}", (volume > 150).astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
        lines.append(f"v{i}.nii.gz,lesions/{i}.nii.gz")
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    data = kmg.data.load(tmp_path / "scans.csv", test_fraction=0.2, validation_fraction=0.2)
    assert data.report.used == 30
    arrays = data.arrays("train")
    assert arrays["images"].shape[1:] == (20, 24, 1)
    for image, mask in zip(arrays["images"][..., 0], arrays["masks"], strict=True):
        assert image[mask == 1].min() >= image[mask == 0].max()
    volumes = data.arrays("test", volumes=True)
    assert volumes["images"].shape == (1, 5, 20, 24, 1)
    assert volumes["masks"].shape == (1, 5, 20, 24)


def test_one_volume_of_one_patient_cannot_be_split(test_data):
    pytest.importorskip("nibabel")
    volume = test_data / "files" / "nifti" / "niivue_MR_Gd.nii.gz"
    with pytest.raises(
        ValueError, match=r"niivue_MR_Gd.nii.gz lacks a split.*3 patients.*Received: 1\."
    ):
        kmg.data.load(volume, image_size=32)


def ct_like(path, rng, patient, modality, **tags):
    """A DICOM file of random grey values."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.PatientID, dataset.SeriesInstanceUID = patient, generate_uid()
    dataset.Modality, dataset.Rows, dataset.Columns = modality, 24, 24
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = (textures(rng, 1, (24, 24, 1)).astype(np.uint16) * 8).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_no_name_of_a_patient_is_kept(tmp_path, rng):
    for i in range(24):
        patient = i // 4
        place = tmp_path / "scans" / f"Doe_{patient}"
        place.mkdir(parents=True, exist_ok=True)
        tags = {"PatientName": "Doe^Jane", "SeriesInstanceUID": f"1.2.{patient}"}
        ct_like(place / f"{i}.dcm", rng, f"SECRET-{patient}", "CT", **tags)
    data = kmg.data.load(tmp_path / "scans", window="lung", test_fraction=0.3)
    assert data.task == "none"  # one patient a folder: no classes
    seen = [set(data.rows(split) // 4) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == 6  # a patient stays in one split
    kmg.data.write_shards(data, tmp_path / "prepared")
    written = [path.read_bytes() for path in (tmp_path / "prepared").iterdir()]
    kept = [json.dumps(data.provenance).encode(), repr(data.report).encode(), *written]
    assert not any(secret in content for content in kept for secret in (b"Doe", b"SECRET"))


def test_a_window_of_hounsfield_units_is_for_ct_alone(tmp_path, rng):
    for i in range(15):
        ct_like(tmp_path / f"{i}.dcm", rng, f"p{i}", "CT" if i < 12 else "MR")
    data = kmg.data.load(tmp_path, window="lung")
    assert dict(data.report.left_out) == {
        f"{i}.dcm": "not CT but MR, and the window 'lung' is one of Hounsfield units"
        for i in range(12, 15)
    }
    assert kmg.data.load(tmp_path, window=(-600, 1500)).report.used == 15


@pytest.mark.parametrize(
    ("tags", "shape"),
    [
        ({"PixelSpacing": [2.0, 1.0]}, (48, 24, 1)),
        ({"PixelSpacing": [0.5, 1.0]}, (24, 48, 1)),
        ({"PixelSpacing": [0.7, 0.7]}, (24, 24, 1)),
        ({"PixelAspectRatio": [2, 1]}, (48, 24, 1)),
        ({"PixelSpacing": [0.0, 0.0]}, (24, 24, 1)),
    ],
)
def test_pixels_become_square(tmp_path, rng, tags, shape):
    for i in range(10):
        ct_like(tmp_path / f"{i}.dcm", rng, f"p{i}", "CT", **tags)
    data = kmg.data.load(tmp_path)
    assert data.image_shape == shape
    said = "stretched to square pixels, by the spacing that the files state"
    assert (said in data.provenance["preprocessing"]) == (shape != (24, 24, 1))
    padded = kmg.data.load(tmp_path, image_size=24).arrays("train")["images"]
    black = (padded == 0).all(axis=(0, 3))
    assert black.all(axis=0).sum() == (12 if shape[0] > shape[1] else 0)
    assert black.all(axis=1).sum() == (12 if shape[0] < shape[1] else 0)


def test_masks_follow_when_pixels_become_square(tmp_path, rng):
    nibabel = pytest.importorskip("nibabel")
    for i in range(4):
        volume = textures(rng, 5, (24, 20, 1))[..., 0].transpose(1, 2, 0).astype(np.float32)
        for name, array in ((f"{i}_t1", volume), (f"{i}_seg", (volume > 150).astype(np.uint8))):
            nibabel.save(
                nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1])), tmp_path / f"{name}.nii"
            )
    arrays = kmg.data.load(tmp_path, test_fraction=0.3, validation_fraction=0.3).arrays("train")
    assert arrays["images"].shape[1:] == (40, 24, 1)
    for image, mask in zip(arrays["images"][..., 0], arrays["masks"], strict=True):
        assert image[mask == 1].mean() > image[mask == 0].mean() + 0.3


def test_window_of_sixteen_bit_pictures(tmp_path, rng):
    for i in range(10):
        deep = rng.integers(0, 4096, (16, 16)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / f"{i}.png")
    data = kmg.data.load(tmp_path)
    plain = data.arrays("train")["images"]
    (note,) = data.report.notes
    assert note.startswith("no pixel is brighter than 0.06 of its range: a window")
    windowed = kmg.data.load(tmp_path, window=(2048, 4096)).arrays("train")["images"]
    assert plain.max() < 4096 / 65535
    assert windowed.max() > 0.95
