"""Files of every kind to `Found`: each goes to the reader of its format."""

import dataclasses
import gzip
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image

from keras_medgen.data.found import Example, Found, UnreadableError
from keras_medgen.data.readers.dicom import scan_dicom
from keras_medgen.data.readers.nifti import scan_nifti
from keras_medgen.data.readers.pictures import read_mask, scan_picture

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
MANY_CLASSES, SMALL_CLASS = 5, 10  # so many folders of fewer images may be patients
SEVERAL_LABELS = "|"  # between the labels of one image, as in ChestX-ray14's table


@dataclasses.dataclass
class Entry:
    """A file, and what its place or a manifest says of it; attributes as in `Example`."""

    path: Path
    label: str | None = None
    split: str | None = None
    patient: str | None = None
    masks: list[Path] = dataclasses.field(default_factory=list)
    text: str | None = None


def find_images(
    entries: list[Entry],
    *,
    source: str,
    window: tuple[float, float] | None,
    preset: str | None,
    axis: int | None,
    channels: int | None,
    folders_are_classes: bool = False,
) -> Found:
    """Reads the headers of files and tells what they hold.

    Args:
        entries: the files.
        source: name for the provenance.
        window: (centre, width) of grey values.
        preset: name of the window, if it has one.
        axis: that volumes are cut along.
        channels: that were asked for, or None.
        folders_are_classes: the labels are the names of folders; they are none if the folders
            turn out to be one patient's each.

    Returns:
        `Found`, its images a list of `Example`.

    Raises:
        ImportError: if there are files whose reader is an extra that is not installed.
    """
    kinds = {"picture": [], "dicom": [], "nifti": [], None: []}
    for entry in entries:
        kinds[_kind(entry.path)].append(entry)
    left_out = [(e.path.name, _no_image(e.path)) for e in kinds[None]]
    by_path = {}
    for entry in entries:
        by_path.setdefault(entry.path, []).append(entry)

    examples = []
    with ThreadPoolExecutor(4) as pool:  # headers wait for the disk

        def scan(entry):
            try:
                return scan_picture(entry.path, window)
            except UnreadableError as error:
                return error

        for entry, scanned in zip(kinds["picture"], pool.map(scan, kinds["picture"]), strict=True):
            if isinstance(scanned, UnreadableError):
                left_out.append((entry.path.name, str(scanned)))
                continue
            for example in scanned:
                examples.append(_with_entry(example, entry))
    volume_masks = {e.path: e.masks[0] for e in kinds["nifti"] if e.masks}
    for kind, scan_kind in (
        ("dicom", lambda paths: scan_dicom(paths, window, preset)),
        ("nifti", lambda paths: scan_nifti(paths, window, axis, channels, masks=volume_masks)),
    ):
        if not kinds[kind]:
            continue
        scanned, refused = scan_kind(list(dict.fromkeys(e.path for e in kinds[kind])))
        left_out += refused
        for example in scanned:
            for entry in by_path[example.path]:
                examples.append(_with_entry(dataclasses.replace(example), entry))

    if folders_are_classes and _one_patient_each(examples):
        for example in examples:
            example.label = None
    found = _found(examples, left_out, source)
    if folders_are_classes and found.class_names:
        per_class = len(found.images) / len(found.class_names)
        if len(found.class_names) >= MANY_CLASSES and per_class < SMALL_CLASS:
            found.notes.append(
                f"{len(found.class_names)} folders of about {per_class:.0f} images are taken for "
                "classes: if they are patients, give a .csv with the column patient"
            )
    return found


def natural(text: str) -> list:
    """A key that sorts "class 10" after "class 9"."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", text)
        if part
    ]


def is_image_file(path: Path) -> bool:
    """Whether a file's name, or its first bytes, say that it is an image."""
    return _kind(path) is not None


def _kind(path: Path) -> str | None:
    name = path.name.casefold()
    if not path.is_file():
        return None
    if name.endswith(NIFTI_SUFFIXES):
        return "nifti"
    if name.endswith(DICOM_SUFFIXES):
        return "dicom"
    if path.suffix.casefold() in PIL.Image.registered_extensions():
        return "picture"
    try:
        with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
            return "dicom" if file.read(132)[128:] == b"DICM" else None
    except (OSError, EOFError, zlib.error):
        return None


def _no_image(path: Path) -> str:
    if not path.is_file():
        return "a folder, not a file" if path.is_dir() else "there is no such file"
    return "no image: neither its name nor its content is of a format that is read"


def _with_entry(example: Example, entry: Entry) -> Example:
    example.path = entry.path
    example.label, example.split, example.text = entry.label, entry.split, entry.text
    if entry.patient is not None:
        example.patient = entry.patient
    if entry.masks and example.read_mask is None:  # a volume's mask is read slice by slice
        example.read_mask = lambda masks=tuple(entry.masks): _union(masks)
    return example


def _union(masks: tuple[Path, ...]) -> np.ndarray:
    read = [read_mask(mask) for mask in masks]
    if len({mask.shape for mask in read}) > 1:
        raise UnreadableError("its masks differ in size")
    return np.maximum.reduce(read)


def _one_patient_each(examples: list[Example]) -> bool:
    """Whether all images have a patient and no two patients share a folder."""
    patients = {}
    for example in examples:
        patients.setdefault(example.label, set()).add(example.patient)
    return all(len(group) == 1 and None not in group for group in patients.values())


def _found(examples: list[Example], left_out: list, source: str) -> Found:
    labelled = [example for example in examples if example.label]
    if labelled and len(labelled) < len(examples):
        left_out = left_out + [
            (e.name, "it has no label, where others have one") for e in examples if not e.label
        ]
        examples = labelled
    labels, class_names, task = None, None, "none"
    if labelled:
        sets = [[p.strip() for p in e.label.split(SEVERAL_LABELS) if p.strip()] for e in examples]
        class_names = sorted({name for names in sets for name in names}, key=natural)
        number = {name: i for i, name in enumerate(class_names)}
        if all(len(names) == 1 for names in sets):
            task = "multi-class"
            labels = np.array([number[names[0]] for names in sets], np.int32)
        else:
            task = "multi-label"
            labels = np.zeros((len(examples), len(class_names)), np.int32)
            for row, names in enumerate(sets):
                labels[row, [number[name] for name in names]] = 1
    texts = [example.text or "" for example in examples]
    volumes = [example.volume for example in examples]
    return Found(
        images=examples,
        splits=np.array([example.split or "" for example in examples], dtype="U5"),
        task=task,
        class_names=class_names,
        provenance={"source": source, "licence": "not stated with the files"},
        labels=labels,
        texts=np.array(texts, dtype=object) if any(texts) else None,
        groups=_numbered([example.patient for example in examples]),
        volumes=np.array(volumes) if volumes and None not in volumes else None,
        names=np.array([example.name for example in examples], dtype=object),
        left_out=left_out,
    )


def _numbered(patients: list[str | None]) -> np.ndarray | None:
    """Patients to anonymous numbers; an image whose patient is unknown has one of its own."""
    if not any(patient is not None for patient in patients):
        return None
    numbers = {}
    keys = [row if patient is None else patient for row, patient in enumerate(patients)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])
