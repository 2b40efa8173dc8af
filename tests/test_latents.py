import numpy as np
import pytest
import scipy.stats
from PIL import Image

import keras_medgen as kmg

SHAPE = (4, 4, 1)


class LinearModel:
    """Encodes by a projection, decodes by its transpose: decoded latents encode to themselves."""

    def __init__(self, latent_dim=3, num_classes=None, log_var=0.0):
        rng = np.random.default_rng(5)
        self.basis = np.linalg.qr(rng.normal(size=(16, latent_dim)))[0]
        self.num_classes = num_classes
        self.log_var = log_var
        self.seen = []

    def encode(self, images, *labels):
        self._see("encode", labels, len(images))
        mean = (images.reshape(len(images), 16) @ self.basis).astype(np.float32)
        return {"mean": mean, "log_var": np.full_like(mean, self.log_var)}

    def decode(self, latents, *labels):
        self._see("decode", labels, len(latents))
        assert latents.dtype == np.float32
        return (latents @ self.basis.T).astype(np.float32).reshape(-1, *SHAPE)

    def _see(self, method, labels, count):
        assert len(labels) == (self.num_classes is not None)
        assert not labels or len(labels[0]) == count
        self.seen.append((method, *labels))

    def images(self, latents):
        """The images that encode to these latents."""
        return (np.asarray(latents) @ self.basis.T).reshape(-1, *SHAPE)

    def latents(self, images):
        return np.asarray(images, np.float64).reshape(*images.shape[:-3], 16) @ self.basis


@pytest.fixture
def model():
    return LinearModel()


class TestInterpolate:
    @pytest.mark.parametrize("kind", ["spherical", "linear"])
    def test_ends_are_the_reconstructions(self, model, rng, kind):
        a, b = rng.random((2, 5, *SHAPE))
        images = kmg.latents.interpolate(model, a, b, steps=4, kind=kind)
        assert images.shape == (5, 4, *SHAPE)
        assert images.dtype == np.float32
        for end, given in ((images[:, 0], a), (images[:, -1], b)):
            expected = model.decode(model.encode(given)["mean"])
            np.testing.assert_allclose(end, expected, atol=1e-6)

    def test_linear_is_evenly_spaced(self, model, rng):
        a, b = rng.normal(size=(2, 6, 3))
        path = model.latents(
            kmg.latents.interpolate(model, model.images(a), model.images(b), 5, "linear")
        )
        np.testing.assert_allclose(path[:, 1], 0.75 * a + 0.25 * b, atol=1e-5)

    def test_spherical_turns_by_even_angles_in_the_plane_of_its_ends(self, model, rng):
        # In the plane of a and b: a turned by a part of the angle, of a length between theirs.
        a, b = rng.normal(size=(2, 3))
        length = np.linalg.norm(a), np.linalg.norm(b)
        e1 = a / length[0]
        e2 = b - (b @ e1) * e1
        e2 /= np.linalg.norm(e2)
        angle = np.arctan2(b @ e2, b @ e1)
        t = np.linspace(0, 1, 7)[:, None]
        expected = (np.cos(t * angle) * e1 + np.sin(t * angle) * e2) * (
            (1 - t) * length[0] + t * length[1]
        )
        path = kmg.latents.interpolate(model, model.images(a)[0], model.images(b)[0], steps=7)
        assert path.shape == (7, *SHAPE)
        np.testing.assert_allclose(model.latents(path), expected, atol=1e-5)

    @pytest.mark.parametrize(
        "b", [[2.0, 4.0, 6.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]
    )
    def test_parallel_opposite_and_zero_latents_take_the_straight_line(self, model, b):
        a, b = np.array([1.0, 2.0, 3.0]), np.array(b)
        path = kmg.latents.interpolate(model, model.images(a)[0], model.images(b)[0], steps=5)
        expected = np.linspace(a, b, 5)
        np.testing.assert_allclose(model.latents(path), expected, atol=2e-3)

    def test_a_pair_is_conditioned_on_its_label(self, rng):
        model = LinearModel(num_classes=3)
        a, b = rng.random((2, 2, *SHAPE))
        kmg.latents.interpolate(model, a, b, steps=3, labels=[2, 0])
        for method, labels in model.seen:
            expected = {"encode": [2, 0], "decode": [2, 2, 2, 0, 0, 0]}[method]
            np.testing.assert_array_equal(labels, expected)
        single = kmg.latents.interpolate(model, a[0], b[0], steps=3, labels=2)
        assert single.shape == (3, *SHAPE)
        kmg.latents.interpolate(model, a[0], b[0], steps=3, labels=[0, 1, 1])
        np.testing.assert_array_equal(model.seen[-1][1], [[0, 1, 1]] * 3)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"b": np.zeros((2, *SHAPE))}, r"one shape.*\(2, 4, 4, 1\)"),
            ({"a": np.zeros(4), "b": np.zeros(4)}, "height"),
            ({"steps": 1}, "steps=1"),
            ({"kind": "cubic"}, "spherical, linear.*'cubic'"),
            ({"model": object()}, "encode and decode.*object"),
        ],
    )
    def test_arguments_are_checked(self, model, changed, message):
        arguments = {"model": model, "a": np.zeros(SHAPE), "b": np.zeros(SHAPE), **changed}
        with pytest.raises(ValueError, match=message):
            kmg.latents.interpolate(**arguments)


class TestTraverse:
    def test_changes_one_dimension_at_a_time(self, model):
        image = model.images([0.5, -1.0, 0.25])[0]
        images = kmg.latents.traverse(model, image, dimensions=[2, 0], values=[-1, 0, 4])
        assert images.shape == (2, 3, *SHAPE)
        expected = [
            [[0.5, -1.0, v] for v in (-1, 0, 4)],
            [[v, -1.0, 0.25] for v in (-1, 0, 4)],
        ]
        np.testing.assert_allclose(model.latents(images), expected, atol=1e-6)

    def test_takes_the_most_informative_dimensions_by_default(self):
        model = LinearModel(latent_dim=10)
        mean = np.array([0, 3, -5, 1, 2, 0.5, -4, 0.1, 0.2, 6.0])
        images = kmg.latents.traverse(model, model.images(mean)[0])
        assert images.shape == (8, 7, *SHAPE)
        changed = np.abs(model.latents(images) - mean).max(axis=1) > 1e-4
        np.testing.assert_array_equal(np.argmax(changed, axis=1), [9, 2, 6, 1, 4, 3, 5, 8])
        np.testing.assert_array_equal(changed.sum(axis=1), 1)
        np.testing.assert_allclose(model.latents(images)[0, :, 9], range(-3, 4), atol=1e-5)

    def test_of_a_conditional_model(self):
        model = LinearModel(num_classes=2)
        assert kmg.latents.traverse(model, np.ones(SHAPE), [1], labels=1).shape == (1, 7, *SHAPE)
        np.testing.assert_array_equal(model.seen[-1][1], [1] * 7)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"image": np.zeros((1, *SHAPE))}, r"one.*\(1, 4, 4, 1\)"),
            ({"dimensions": [3]}, r"0 to 2.*\[3\]"),
            ({"dimensions": []}, "dimensions"),
            ({"dimensions": 1}, "dimensions=1"),
            ({"values": []}, "values"),
        ],
    )
    def test_arguments_are_checked(self, model, changed, message):
        with pytest.raises(ValueError, match=message):
            kmg.latents.traverse(**{"model": model, "image": np.zeros(SHAPE), **changed})


class TestSaveRows:
    def test_has_a_row_for_each_path(self, tmp_path, rng):
        images = rng.random((2, 5, 16, 16, 3))
        kmg.latents.save_rows(tmp_path / "many.png", images)
        kmg.latents.save_rows(tmp_path / "one.png", images[0])
        many, one = (Image.open(tmp_path / f"{name}.png") for name in ("many", "one"))
        assert many.width == one.width == 5 * 98 + 2
        assert (many.height, one.height) == (2 * 98 + 2, 98 + 2)
        # The third image of the second row, at its first pixel.
        expected = (images[1, 2, 0, 0] * 255).round()
        np.testing.assert_array_equal(many.getpixel((2 * 98 + 2, 98 + 2)), expected)

    def test_other_shapes_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"\(4, 4, 1\)"):
            kmg.latents.save_rows(tmp_path / "x.png", np.zeros(SHAPE))


class TestSmote:
    @pytest.fixture
    def sample(self, model, rng):
        """12, 5 and 2 latents of three classes, well apart, mixed in order."""
        labels = rng.permutation([0] * 12 + [1] * 5 + [2] * 2)
        latents = rng.normal(size=(19, 3)) + 10 * labels[:, None]
        return latents, model.images(latents), labels

    def test_brings_each_class_up_to_the_largest(self, model, sample):
        new = kmg.latents.smote(model, *sample[1:])
        np.testing.assert_array_equal(new["labels"], [1] * 7 + [2] * 10)
        assert new["labels"].dtype == np.int32
        assert new["images"].shape == (17, *SHAPE)
        assert new["images"].dtype == np.float32

    @pytest.mark.parametrize("k", [1, 3, 50])
    def test_latents_lie_between_one_of_their_class_and_a_near_neighbour(self, model, sample, k):
        latents, images, labels = sample
        new = kmg.latents.smote(model, images, labels, num=40, k=k)
        found = model.latents(new["images"])
        for c in (1, 2):
            members = latents[labels == c]
            distances = np.linalg.norm(members[:, None] - members[None], axis=-1)
            allowed = [
                (i, j) for i in range(len(members)) for j in np.argsort(distances[i])[1 : k + 1]
            ]
            starts, ends = (members[list(side)] for side in zip(*allowed, strict=True))
            weights, used = [], set()
            for z in found[new["labels"] == c]:
                along = np.sum((z - starts) * (ends - starts), axis=1)
                weight = along / np.sum((ends - starts) ** 2, axis=1)
                off = np.linalg.norm(starts + weight[:, None] * (ends - starts) - z, axis=1)
                on = (off < 1e-4) & (weight > -1e-5) & (weight < 1 + 1e-5)
                assert on.any()
                used.add(frozenset(allowed[np.argmax(on)]))
                weights.append(weight[np.argmax(on)])
            if c == 1 and k == 50:  # all ten pairs of five, the weights uniform
                assert len(used) >= 9
            if k == 50:
                assert scipy.stats.kstest(weights, "uniform").pvalue > 1e-3

    def test_all_of_the_class_take_their_turn(self, model, rng):
        # Far apart along one axis: with one neighbour each, the nearer end tells the first one.
        positions = np.array([0, 1, 10, 11, 100, 101.0])
        latents = np.stack([positions, 0 * positions, 0 * positions], axis=1)
        labels = [1] * 6
        new = kmg.latents.smote(model, model.images(latents), labels, target=1, num=6, k=1)
        pairs = np.digitize(model.latents(new["images"])[:, 0], [5, 50])
        np.testing.assert_array_equal(np.bincount(pairs), [2, 2, 2])

    def test_repeats_by_its_seed_and_grows_from_its_first_images(self, model, sample):
        _, images, labels = sample
        few = kmg.latents.smote(model, images, labels, target=1, num=4, seed=3)
        many = kmg.latents.smote(model, images, labels, target=1, num=9, seed=3)
        other = kmg.latents.smote(model, images, labels, target=1, num=4, seed=4)
        all_classes = kmg.latents.smote(model, images, labels, num=4, seed=3)
        np.testing.assert_array_equal(many["images"][:4], few["images"])
        np.testing.assert_array_equal(all_classes["images"][:4], few["images"])
        assert np.abs(other["images"] - few["images"]).max() > 1e-3

    def test_of_the_largest_class_or_none(self, model, sample):
        _, images, labels = sample
        assert len(kmg.latents.smote(model, images, labels, target=0)["images"]) == 0
        assert len(kmg.latents.smote(model, images, labels, target=0, num=3)["images"]) == 3
        balanced = kmg.latents.smote(model, images[:4], [0, 0, 1, 1])
        assert balanced["images"].shape == (0, *SHAPE)
        assert balanced["labels"].shape == (0,)

    def test_a_conditional_model_gets_the_classes(self, sample):
        model = LinearModel(num_classes=3)
        _, images, labels = sample
        new = kmg.latents.smote(model, images, labels)
        (encoded, given), (decoded, made) = model.seen
        assert (encoded, decoded) == ("encode", "decode")
        np.testing.assert_array_equal(given, labels)
        np.testing.assert_array_equal(made, new["labels"])

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"labels": np.eye(19, 3)}, r"multi-label.*\(19, 3\)"),
            ({"labels": [0] * 18 + [1]}, "2 images.*1 of class 1"),
            ({"labels": [0] * 18}, "19 labels.*18"),
            ({"labels": [-1] * 19}, "from 0"),
            ({"labels": [0.5] * 19}, "from 0"),
            ({"target": 7}, "0 of class 7"),
            ({"k": 0}, "k=0"),
            ({"num": -1}, "num=-1"),
        ],
    )
    def test_arguments_are_checked(self, model, sample, changed, message):
        arguments = {"images": sample[1], "labels": sample[2], **changed}
        with pytest.raises(ValueError, match=message):
            kmg.latents.smote(model, **arguments)


class TestSaveMap:
    def test_points_are_the_principal_components(self, model, rng, tmp_path):
        latents = rng.normal(size=(50, 3)) * [3, 1, 0.2]
        points = kmg.latents.save_map(tmp_path / "map.png", model, model.images(latents))
        centred = latents - latents.mean(axis=0)
        vectors = np.linalg.eigh(centred.T @ centred).eigenvectors
        expected = centred @ vectors[:, [2, 1]]
        assert points.shape == (50, 2)
        signs = np.sign(np.sum(points * expected, axis=0))
        np.testing.assert_allclose(points, expected * signs, atol=1e-4)

    def test_the_title_says_how_much_the_axes_hold(self, model, tmp_path, monkeypatch):
        seen = {}
        monkeypatch.setattr(
            kmg.latents.pictures, "save_scatter", lambda *a, **kwargs: seen.update(kwargs)
        )
        # Variances of 6, 3 and 1: 90% of the whole in two axes.
        latents = np.concatenate([np.diag([6, 3, 1]) ** 0.5, -(np.diag([6, 3, 1]) ** 0.5)])
        kmg.latents.save_map(tmp_path / "map.png", model, model.images(latents))
        assert "90%" in seen["title"]
        assert "60%" in seen["axes"][0]
        assert "30%" in seen["axes"][1]

    @pytest.mark.parametrize("classes", [2, 30])
    def test_the_png_is_small_and_in_the_colours_of_the_classes(
        self, model, rng, tmp_path, classes
    ):
        labels = rng.integers(0, classes, 5000)
        images = model.images(rng.normal(size=(5000, 3)) + labels[:, None] % 3)
        path = tmp_path / "new" / "map.png"
        kmg.latents.save_map(path, model, images, labels, [f"class {c}" for c in range(classes)])
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
        coloured = pixels[np.ptp(pixels, axis=1) > 80]
        assert len(np.unique(coloured // 32, axis=0)) > classes

    def test_multi_label_labels_give_no_colours(self, rng, tmp_path):
        model = LinearModel(num_classes=4)
        path = tmp_path / "map.png"
        images, labels = rng.random((9, *SHAPE)), rng.integers(0, 2, (9, 4))
        assert kmg.latents.save_map(path, model, images, labels).shape == (9, 2)
        np.testing.assert_array_equal(model.seen[0][1], labels)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"method": "tsne"}, "pca.*'tsne'"),
            ({"images": np.zeros((1, *SHAPE))}, r"at least 2.*\(1, 3\)"),
            ({"model": LinearModel(1)}, r"at least 2.*\(6, 1\)"),
            ({"labels": [0, 1]}, "6 labels"),
            ({"labels": [0, 1, 2, 0, 1, 2], "class_names": ["a", "b"]}, "3 classes.*'b'"),
        ],
    )
    def test_arguments_are_checked(self, model, tmp_path, rng, changed, message):
        arguments = {"model": model, "images": rng.random((6, *SHAPE)), **changed}
        with pytest.raises(ValueError, match=message):
            kmg.latents.save_map(tmp_path / "map.png", **arguments)
        assert not (tmp_path / "map.png").exists()


class TestStatistics:
    def test_counts_the_dimensions_whose_mean_varies(self, rng):
        model = LinearModel(latent_dim=4)
        latents = scipy.stats.zscore(rng.normal(size=(30, 4))) * [2, 0.11, 0.09, 0] + [0, 0, 0, 5]
        statistics = kmg.latents.statistics(model, model.images(latents))
        assert statistics["active_units"] == 2  # variances of 4, 0.0121, 0.0081 and 0

    def test_kl_equals_the_integral(self):
        model = LinearModel(latent_dim=2, log_var=-1.2)
        means = np.array([[0.3, -1.0], [2.0, 0.0]])
        statistics = kmg.latents.statistics(model, model.images(means))
        z = np.linspace(-15, 15, 200_001)
        prior = scipy.stats.norm.logpdf(z)
        expected = np.zeros((2, 2))
        for index, mean in np.ndenumerate(means):
            posterior = scipy.stats.norm(mean, np.exp(-0.6))
            expected[index] = np.trapezoid(posterior.pdf(z) * (posterior.logpdf(z) - prior), z)
        np.testing.assert_allclose(statistics["kl_per_dimension"], expected.mean(0), atol=1e-5)
        assert statistics["kl"] == pytest.approx(expected.mean(0).sum(), abs=1e-5)
        assert all(type(value) is float for value in statistics["kl_per_dimension"])

    def test_a_conditional_model_gets_the_labels_and_others_do_not_need_them(self, model, rng):
        images = rng.random((3, *SHAPE))
        conditional = LinearModel(num_classes=2)
        kmg.latents.statistics(conditional, images, [0, 1, 1])
        assert conditional.seen == [("encode", [0, 1, 1])]
        with_labels = kmg.latents.statistics(model, images, [0, 1, 1])
        assert with_labels == kmg.latents.statistics(model, images)

    def test_needs_two_images(self, model):
        with pytest.raises(ValueError, match=r"at least 2.*1"):
            kmg.latents.statistics(model, np.zeros((1, *SHAPE)))


@pytest.mark.parametrize("num_classes", [None, 2])
def test_a_vae_has_all_that_the_tools_use(num_classes, rng, tmp_path):
    model = kmg.models.VAE((16, 16, 1), latent_dim=2, num_classes=num_classes)
    images, labels = rng.random((8, 16, 16, 1), np.float32), np.array([0] * 5 + [1] * 3)
    one = {} if num_classes is None else {"labels": 1}
    path = kmg.latents.interpolate(model, images[0], images[1], steps=3, **one)
    posterior = model.encode(images[:2], *([[1, 1]] if one else []))
    ends = model.decode(posterior["mean"], *([[1, 1]] if one else []))
    np.testing.assert_allclose(path[[0, 2]], ends, atol=1e-5)
    assert kmg.latents.traverse(model, images[0], **one).shape == (2, 7, 16, 16, 1)
    assert kmg.latents.smote(model, images, labels)["images"].shape == (2, 16, 16, 1)
    assert kmg.latents.save_map(tmp_path / "map.png", model, images, labels).shape == (8, 2)
    assert kmg.latents.statistics(model, images, labels)["kl"] > 0
