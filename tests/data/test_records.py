import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_medgen as kmg
from tests.conftest import textures

SPLITS = ("train", "val", "test")


@pytest.fixture
def manifest(tmp_path, rng):
    """A source with everything that an image can have."""
    (tmp_path / "source").mkdir()
    lines = ["path,label,mask,text"]
    for i, picture in enumerate(textures(rng, 40, (20, 20, 1))):
        Image.fromarray(picture[..., 0]).save(tmp_path / "source" / f"{i}.png")
        Image.fromarray(picture[..., 0] // 100).save(tmp_path / "source" / f"m{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},m{i}.png,scan {i}")
    (tmp_path / "source" / "bad.png").write_bytes(b"no picture")
    lines.append("bad.png,a,,")
    path = tmp_path / "source" / "scans.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_what_is_read_is_what_was_written(manifest, tmp_path, cache):
    data = kmg.data.load(manifest, image_size=16)
    kmg.data.write_shards(data, tmp_path / "prepared", images_per_shard=10)
    again = kmg.data.load(tmp_path / "prepared", cache=cache, batch_size=8)
    assert again.class_names == data.class_names == ["a", "b"]
    assert again.task == data.task
    assert again.provenance["counts"] == data.provenance["counts"]
    assert again.provenance["sha256"] == data.provenance["sha256"]
    assert again.provenance["preprocessing"] == data.provenance["preprocessing"]
    assert again.report == data.report
    assert again.report.left_out[0][0] == "bad.png"
    for split in SPLITS:
        for name, array in data.arrays(split).items():
            np.testing.assert_array_equal(again.arrays(split)[name], array)
    batches = list(again.val)
    np.testing.assert_array_equal(
        np.concatenate([batch["masks"] for batch in batches]), data.arrays("val")["masks"]
    )
    epoch = np.concatenate([batch["images"] for batch in again.train])
    assert sorted(i.tobytes() for i in epoch) == sorted(
        i.tobytes() for i in data.arrays("train")["images"]
    )


def test_any_reader_of_tfrecords_reads_them(manifest, tmp_path):
    data = kmg.data.load(manifest)
    kmg.data.write_shards(data, tmp_path / "prepared")
    (shard,) = (tmp_path / "prepared").glob("test-*.tfrecord")
    described = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "shape": tf.io.FixedLenFeature([3], tf.int64),
        "label": tf.io.FixedLenFeature([1], tf.int64),
        "text": tf.io.FixedLenFeature([], tf.string),
    }
    arrays = data.arrays("test")
    for i, record in enumerate(tf.data.TFRecordDataset(str(shard))):
        example = tf.io.parse_single_example(record, described)
        pixels = tf.io.decode_raw(example["image"], tf.uint8).numpy().reshape(example["shape"])
        np.testing.assert_array_equal(pixels / np.float32(255), arrays["images"][i])
        assert example["label"].numpy() == arrays["labels"][i]
        assert example["text"].numpy().decode() == arrays["texts"][i]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


def test_killed_and_run_again_it_ends_with_the_same_shards(manifest, tmp_path):
    data = kmg.data.load(manifest)
    kmg.data.write_shards(data, tmp_path / "whole", images_per_shard=4)
    # The writer is killed by the system in the midst of its third shard.
    code = f"""
import keras_medgen as kmg, os, signal, tensorflow as tf
data = kmg.data.load({str(manifest)!r})
write, written = tf.io.TFRecordWriter.write, []
def counted(self, record):
    written.append(1)
    if len(written) == 11:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, record)
tf.io.TFRecordWriter.write = counted
kmg.data.write_shards(data, {str(tmp_path / "cut")!r}, images_per_shard=4)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    whole = [name for name in contents(tmp_path / "cut") if not name.startswith(".")]
    assert len(whole) == 2
    with pytest.raises(ValueError, match="cut was not prepared to the end"):
        kmg.data.load(tmp_path / "cut")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("t*.tfrecord")}
    kmg.data.write_shards(data, tmp_path / "cut", images_per_shard=4)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    np.testing.assert_array_equal(
        kmg.data.load(tmp_path / "cut").arrays("train")["images"], data.arrays("train")["images"]
    )


def test_shards_of_other_settings_are_not_mixed(manifest, tmp_path):
    kmg.data.write_shards(kmg.data.load(manifest), tmp_path / "prepared")
    with pytest.raises(ValueError, match="another source or of other settings"):
        kmg.data.write_shards(kmg.data.load(manifest, image_size=16), tmp_path / "prepared")
    with pytest.raises(ValueError, match="not empty and holds no prepared data"):
        kmg.data.write_shards(kmg.data.load(manifest), manifest.parent)


@pytest.mark.parametrize("column", ["label", "mask", "text", "order"])
def test_shards_of_other_labels_masks_or_order_are_not_mixed(manifest, tmp_path, column):
    kmg.data.write_shards(kmg.data.load(manifest), tmp_path / "prepared")
    lines = manifest.read_text().splitlines()
    if column == "order":  # the same images in other splits
        data = kmg.data.load(manifest, seed=1)
    else:
        old, new = {
            "label": (",a,m2.", ",b,m2."),
            "mask": ("m4.png", "m6.png"),
            "text": ("scan 8", "x"),
        }[column]
        assert sum(old in line for line in lines) >= 1
        manifest.write_text("\n".join(line.replace(old, new, 1) for line in lines))
        data = kmg.data.load(manifest)
    with pytest.raises(ValueError, match="another source or of other settings"):
        kmg.data.write_shards(data, tmp_path / "prepared")


def test_what_was_settled_cannot_be_asked_for_again(manifest, tmp_path):
    kmg.data.write_shards(kmg.data.load(manifest, seed=3), tmp_path / "prepared")
    with pytest.raises(ValueError, match=r"prepared, and deduplicate settled then.*'drop'"):
        kmg.data.load(tmp_path / "prepared", deduplicate="drop")
    again = kmg.data.load(tmp_path / "prepared", seed=4)
    assert (again.provenance["prepared_with_seed"], again.provenance["seed"]) == (3, 4)


def test_a_cache_in_a_file(manifest, tmp_path):
    data = kmg.data.load(manifest)
    kmg.data.write_shards(data, tmp_path / "prepared")
    again = kmg.data.load(tmp_path / "prepared", cache="file", data_dir=tmp_path / "new")
    assert isinstance(again.store.images, np.memmap)
    assert list((tmp_path / "new").iterdir()) == []
    for name, array in data.arrays("train").items():
        np.testing.assert_array_equal(again.arrays("train")[name], array)


def test_another_size_is_refused(manifest, tmp_path):
    kmg.data.write_shards(kmg.data.load(manifest, image_size=16), tmp_path / "prepared")
    assert kmg.data.load(tmp_path / "prepared", image_size=16).image_shape == (16, 16, 1)
    with pytest.raises(ValueError, match=r"prepared with image_size \(16, 16\)"):
        kmg.data.load(tmp_path / "prepared", image_size=32)
    with pytest.raises(ValueError, match="prepared with channels 1"):
        kmg.data.load(tmp_path / "prepared", channels=3)


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "manifest"])
@pytest.mark.parametrize("cache", ["memory", "none"])
def test_damage_is_named(manifest, tmp_path, damage, cache):
    folder = tmp_path / "prepared"
    kmg.data.write_shards(kmg.data.load(manifest), folder)
    (shard,) = folder.glob("train-*.tfrecord")
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[:-30])
    elif damage == "flip":
        content[150] ^= 255
        shard.write_bytes(content)
    elif damage == "remove":
        shard.unlink()
    else:
        (folder / "manifest.json").write_text("{")

    def read():
        return list(kmg.data.load(folder, cache=cache).train)

    with pytest.raises((ValueError, tf.errors.OpError), match="damaged"):
        read()


def test_eight_bits_and_more(tmp_path, rng):
    for i, picture in enumerate(textures(rng, 12, (16, 16, 1))):
        Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(tmp_path / f"{i}.png")
    data = kmg.data.load(tmp_path)
    kmg.data.write_shards(data, tmp_path / "prepared")
    again = kmg.data.load(tmp_path / "prepared")
    np.testing.assert_array_equal(again.arrays("train")["images"], data.arrays("train")["images"])
    assert json.loads((tmp_path / "prepared" / "manifest.json").read_text())["dtype"] == "float32"
