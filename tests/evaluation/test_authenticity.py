import numpy as np
import pytest

import keras_medgen as kmg
from keras_medgen import metrics
from keras_medgen.evaluation.authenticity import authenticity, exact_copies, pixel_vectors
from keras_medgen.evaluation.images import given_images
from keras_medgen.evaluation.membership import membership


def audited(train, held_out, generated):
    extractor = metrics.RandomConvolutions().fit(train)
    generated = given_images(np.clip(generated, 0, 1), None, None)
    section = authenticity(train, held_out, generated, extractor, 0, "val")
    attacks = membership(None, {"images": train}, {"images": held_out}, generated, extractor, 0)
    return section, section.metrics | attacks.metrics


@pytest.fixture
def breast(test_data):
    """Training images, held-out ones and others, split at random: 18 % have near copies."""
    data = kmg.data.load(test_data / "breastmnist.npz", deduplicate="drop")
    images = np.concatenate([data.arrays(s)["images"] for s in ("train", "val", "test")])
    order = np.random.default_rng(0).permutation(len(images))
    train, held_out, other = np.split(images[order], [350, 500])
    return train, held_out, other


class TestBreastMNIST:
    def test_noisy_training_images_are_flagged(self, breast, rng):
        train, held_out, _ = breast
        copies = train + rng.normal(0, 0.01, train.shape).astype(np.float32)
        section, found = audited(train, held_out, copies)
        assert found["flagged"] == 1
        assert found["auth_pct[pixels]"] < 10
        assert found["membership_auc"] > 0.95
        assert found["copied_share"] > 0.9
        assert found["c_t[pixels]"] < -3
        assert section.summary[0].startswith("COPIES")

    def test_held_out_real_images_are_not(self, breast):
        train, held_out, other = breast
        section, found = audited(train, held_out, other)
        assert found["flagged"] == 0
        assert found["auth_pct[pixels]"] == pytest.approx(
            found["auth_pct_held_out[pixels]"], abs=10
        )
        assert abs(found["c_t[pixels]"]) < 3
        assert found["copied_share"] < 0.05
        assert section.summary[0].startswith("No near copies")
        assert "Yet" not in section.summary[0]

    def test_the_files_own_test_images_are_not(self, test_data):
        """One of them has the very pixels of a training image, and dozens nearly."""
        data = kmg.data.load(test_data / "breastmnist.npz")
        train, val, test = (data.arrays(split)["images"] for split in ("train", "val", "test"))
        extractor = metrics.RandomConvolutions().fit(train)
        section = authenticity(
            *(train, val, given_images(test, None, None), extractor, 0, "val"),
            elsewhere=np.concatenate([val, test]),
        )
        assert section.metrics["exact_copies"] > 0
        assert section.metrics["flagged"] == 0

    def test_blurred_images_are_no_copies_but_too_close(self, breast):
        from scipy.ndimage import gaussian_filter

        train, held_out, other = breast
        section, found = audited(train, held_out, gaussian_filter(other, (0, 1, 1, 0)))
        assert found["flagged"] == 0
        assert "Yet generated images lie systematically closer" in section.summary[0]

    def test_a_mixture_is_flagged_in_proportion(self, breast, rng):
        train, held_out, other = breast
        half = train[: len(other)] + rng.normal(0, 0.01, other.shape).astype(np.float32)
        _, found = audited(train, held_out, np.concatenate([half, other]))
        assert found["flagged"] == 1
        assert found["copied_share"] == pytest.approx(0.5, abs=0.06)

    def test_planted_copies(self, breast):
        train, held_out, other = breast
        section, found = audited(train, held_out, other)
        assert found["planted/noise of 0.02"] > 0.95
        assert section.tables[1].rows[0][0] == "noise of 0.02"
        # What it is blind to stands in the verdict, and nothing else.
        assert found["planted/mirrored"] < 0.5
        verdict = section.summary[0]
        assert "Of copies of some kinds this finds few, as planted ones show:" in verdict
        assert f"mirrored ({found['planted/mirrored']:.0%})" in verdict
        assert "noise of 0.02" not in verdict


def test_closest_pairs_are_shown_beside_each_other(rng):
    train = rng.random((60, 12, 12, 1)).astype(np.float32)
    generated = rng.random((40, 12, 12, 1)).astype(np.float32)
    generated[7] = np.clip(train[21] + 0.004, 0, 1)
    extractor = metrics.RandomConvolutions(8).fit(train)
    held_out = rng.random((30, 12, 12, 1)).astype(np.float32)
    section = authenticity(
        train, held_out, given_images(generated, None, None), extractor, 0, "val"
    )
    picture = section.pictures[0]
    np.testing.assert_array_equal(picture.images[0], generated[7])
    np.testing.assert_array_equal(picture.images[1], train[21])


def test_one_exact_copy_is_flagged_unless_another_split_holds_it(rng):
    train = rng.random((60, 12, 12, 1)).astype(np.float32)
    extractor = metrics.RandomConvolutions(8).fit(train)
    made, held_out = (rng.random((40, 12, 12, 1)).astype(np.float32) for _ in range(2))
    made[7] = train[21]
    given = train, held_out, given_images(made, None, None), extractor, 0, "val"
    section = authenticity(*given, elsewhere=held_out)
    assert section.metrics["flagged"] == 1
    assert section.summary[0].startswith("COPIES: 1 generated image")
    section = authenticity(*given, elsewhere=train[20:22])
    assert (section.metrics["flagged"], section.metrics["exact_copies"]) == (0, 1)


def test_without_held_out_images_exact_copies_are_found_all_the_same(rng):
    train, made = (rng.random((n, 12, 12, 1)).astype(np.float32) for n in (60, 40))
    extractor = metrics.RandomConvolutions(8).fit(train)
    for images, flagged in ((made, 0), (np.concatenate([made, train[:1]]), 1)):
        given = given_images(images, None, None)
        section = authenticity(train, None, given, extractor, 0, "test")
        assert section.metrics["flagged"] == flagged
        assert "auth_pct[pixels]" in section.metrics
        assert "c_t[pixels]" not in section.metrics
        assert len(section.pictures) == 1


def test_exact_copies_are_counted_in_eight_bits(rng):
    train = rng.integers(0, 256, (20, 8, 8, 1)) / 255
    images = np.concatenate([train[:3] + 0.4 / 255, train[:2] + 0.6 / 255, 1 - train[3:5]])
    assert exact_copies(np.clip(images, 0, 1), train) == 3


def test_copies_among_the_training_images_do_not_hide_others(rng):
    train = rng.random((60, 12, 12, 1)).astype(np.float32)
    train = np.concatenate([train, train])
    extractor = metrics.RandomConvolutions(8).fit(train)
    held_out = rng.random((60, 12, 12, 1)).astype(np.float32)
    copies = np.clip(train[:60] + 0.01, 0, 1)
    generated = given_images(copies, None, None)
    found = authenticity(train, held_out, generated, extractor, 0, "val").metrics
    assert found["flagged"] == 1
    assert found["copied_share[pixels]"] > 0.9


def test_larger_images_are_averaged_for_comparison(rng):
    images = rng.random((2, 130, 128, 1))
    vectors = pixel_vectors(images).reshape(2, 43, 42)
    np.testing.assert_allclose(vectors[1, 2, 3], images[1, 6:9, 9:12, 0].mean())


class Memory:
    """A model that restores its training images, and nothing else."""

    num_classes = None

    def __init__(self, images):
        self.images = images

    def reconstruct(self, images):
        return self.images[metrics.nearest(pixel_vectors(images), pixel_vectors(self.images))[1]]


class TestMembership:
    @pytest.fixture
    def sets(self, rng):
        return [rng.random((n, 12, 12, 1)).astype(np.float32) for n in (80, 60, 50)]

    def test_a_model_that_remembers_gives_its_members_away(self, sets):
        train, others, made = sets
        extractor = metrics.RandomConvolutions(8).fit(train)
        generated = given_images(made, None, None)
        found = membership(
            Memory(train), {"images": train}, {"images": others}, generated, extractor, 0
        ).metrics
        assert found["membership_auc[reconstruction]"] == 1
        assert 0.3 < found["membership_auc[distance]"] < 0.7
        assert 0.3 < found["blind_auc"] < 0.7
        assert "membership_tpr_at_1_fpr[reconstruction]" not in found

    def test_groups_that_differ_by_themselves_are_told(self, sets):
        train, others, made = sets
        extractor = metrics.RandomConvolutions(8).fit(train)
        generated = given_images(made, None, None)
        section = membership(
            None, {"images": train}, {"images": others * 0.5}, generated, extractor, 0
        )
        assert section.metrics["blind_auc"] > 0.95
        assert "too few" in section.warnings[0]

    def test_rate_at_few_false_alarms_wants_a_thousand(self, rng):
        train, others = (rng.random((1000, 8, 8, 1)).astype(np.float32) for _ in range(2))
        extractor = metrics.RandomConvolutions(8).fit(train)
        generated = given_images(train[:500], None, None)
        section = membership(None, {"images": train}, {"images": others}, generated, extractor, 0)
        assert section.metrics["membership_tpr_at_1_fpr[distance]"] == pytest.approx(0.5, abs=0.05)
        assert not section.warnings
