"""What every model promises; a new model is one more entry of `MODELS`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_medgen as kmg
from tests.conftest import blobs
from tests.models.contract import MODELS, SHAPE

# Its many trainings run what the tests of each model cover too.
pytestmark = pytest.mark.no_cover

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


@pytest.fixture(params=MODELS)
def case(request):
    return MODELS[request.param]


@pytest.fixture
def images(rng):
    return blobs(rng, 24).astype(np.float32) / 255


def make(case, seed=0, **compile_arguments):
    model = case.make(seed)
    model.compile(**case.compile, **compile_arguments)
    return model


def batches(images, size=8):
    return tf.data.Dataset.from_tensor_slices({"images": images}).batch(size)


def weights(model):
    return [np.asarray(variable) for variable in model.variables]


def plain_descent(case):
    """An optimizer for each: not Adam, which blows a gradient of mere rounding up to a step."""
    return {name: keras.optimizers.SGD(1e-4) for name in case.optimizers}


def noise_off(model, monkeypatch):
    monkeypatch.setattr(model, "noise", lambda shape, training, stream=0: tf.zeros(shape))


FORMS = {
    "array": lambda x: x,
    "uint8 array": lambda x: (x * 255).round().astype(np.uint8),
    "array without channels": lambda x: x[..., 0],
    "dicts": batches,
    "images": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(8),
    "pairs": lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(24))).batch(8),
}


class TestFit:
    @pytest.mark.parametrize(
        ("case", "form", "steps_per_execution"),
        [
            *(("VAE", form, 1) for form in FORMS),  # what a form becomes is the base's affair
            *((name, "array", 3) for name in MODELS),
            *((name, "dicts", 1) for name in MODELS if name != "VAE"),
        ],
        indirect=["case"],
    )
    def test_takes_what_keras_users_have(self, case, images, form, steps_per_execution):
        model = make(case, steps_per_execution=steps_per_execution)
        data = FORMS[form](images)
        history = model.fit(data, validation_data=(images,), epochs=2, batch_size=8, verbose=0)
        names = {*model.loss_terms, *model.training_terms}
        names |= {f"val_{name}" for name in model.loss_terms}
        assert set(history.history) == names
        assert all(isinstance(v, float) for values in history.history.values() for v in values)
        assert np.isfinite(list(history.history.values())).all()
        assert model.optimizer.iterations == 6

        losses = model.evaluate(data, batch_size=8, verbose=0, return_dict=True)
        for name in model.loss_terms:
            assert losses[name] == pytest.approx(history.history[f"val_{name}"][-1], rel=1e-3)
        predicted = model.predict(data, batch_size=8, verbose=0)
        assert predicted.shape == (len(images), *case.predicts)
        assert predicted.dtype == np.float32

    def test_learns(self, case, rng):
        model = make(case, **case.learning())
        history = model.fit(blobs(rng, 64), epochs=15, batch_size=16, verbose=0).history[case.loss]
        assert min(history[-3:]) < min(history[:3]) - 0.1 * abs(history[0])

    def test_evaluation_repeats_itself(self, case, images):
        model = make(case)
        first, again = (model.evaluate(batches(images), verbose=0) for _ in range(2))
        assert first == again

    def test_every_image_weighs_alike(self, case, images, monkeypatch):
        model = make(case)
        noise_off(model, monkeypatch)
        whole = model.evaluate(batches(images[:21], 21), verbose=0, return_dict=True)
        parts = model.evaluate(batches(images[:21], 8), verbose=0, return_dict=True)
        assert parts == pytest.approx(whole, rel=1e-5)

    def test_examples_are_there_during_fit_alone(self, case, images):
        model = make(case)
        seen = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(model.example_batch(4))
        )
        model.fit(batches(images), validation_data=(images[3:9],), verbose=0, callbacks=[watch])
        np.testing.assert_array_equal(seen[0]["images"], images[3:7])
        model.fit(batches(images), verbose=0, callbacks=[watch])
        assert seen[1] is None  # reading it would change the order of the training
        assert model.example_batch(4) is None


class TestImagesAreChecked:
    spoilt = (
        (lambda x: x * 255, r"must lie in \[0, 1\]"),
        (lambda x: x - 0.5, r"must lie in \[0, 1\]"),
        (lambda x: np.where(x > 0.5, np.nan, x), r"must lie in \[0, 1\]"),
        (lambda x: (x * 255).astype(np.int32), "int32"),
        (lambda x: x[:, :15], r"\(batch, 16, 16, 1\).*15|image_shape.*15"),  # the latter in a graph
        (lambda x: np.repeat(x, 3, axis=-1), r"\(batch, 16, 16, 1\)|image_shape.*3"),
    )

    @pytest.mark.parametrize(
        ("method", "jit_compile"),
        [("fit", False), ("fit", True), ("evaluate", False), ("predict", False)],
    )
    def test_a_dataset_out_of_range(self, case, images, method, jit_compile):
        data = tf.data.Dataset.from_tensor_slices(images * 255).batch(8)
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            getattr(make(case, jit_compile=jit_compile), method)(data, verbose=0)

    @pytest.mark.parametrize(
        ("method", "jit_compile"),
        [("fit", False), ("fit", True), ("evaluate", False), ("predict", False)],
    )
    @pytest.mark.parametrize("as_dataset", [False, True])
    def test_spoilt_images(self, images, method, as_dataset, jit_compile):
        model = make(MODELS["VAE"], jit_compile=jit_compile)  # the checks are the base's affair
        for spoil, message in self.spoilt:
            data = spoil(images)
            if as_dataset:
                data = tf.data.Dataset.from_tensor_slices(data).batch(8)
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(data, verbose=0)
        getattr(model, method)(images, verbose=0)  # nothing of it is left behind

    def test_a_dataset_of_unknown_shape(self, case, images):
        model = make(case)
        spec = tf.TensorSpec((None, None, None, 1), tf.float32)
        data = tf.data.Dataset.from_generator(lambda: iter([images[:, :15]]), output_signature=spec)
        with pytest.raises(ValueError, match=r"image_shape.*15"):
            model.fit(data, verbose=0)

    def test_sample_weights_and_dicts_without_images(self, case, images):
        model = make(case)
        with pytest.raises(ValueError, match="sample_weight"):
            model.fit(images, np.zeros(24), sample_weight=np.ones(24), verbose=0)
        with pytest.raises(ValueError, match="'images'"):
            model.fit(tf.data.Dataset.from_tensors({"pictures": images}), verbose=0)

    def test_other_graph_errors_keep_their_words(self, case, images, monkeypatch):
        model = make(case)

        def broken(data):
            tf.debugging.Assert(False, ["something else"])
            return original(data)

        original = model.unpack_batch
        monkeypatch.setattr(model, "unpack_batch", broken)
        with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
            model.fit(images, verbose=0)


class TestSeeds:
    def test_the_same_seed_trains_the_same_model(self, case, images):
        runs = []
        for _ in range(2):
            model = make(case, seed=3)
            history = model.fit(images, epochs=2, batch_size=8, shuffle=False, verbose=0).history
            runs.append((history, model.generate(4, seed=1)))
        assert runs[0][0] == runs[1][0]
        np.testing.assert_array_equal(runs[0][1], runs[1][1])

    def test_another_seed_another_model(self, case, images):
        first, second = (make(case, seed=seed).generate(4, seed=1) for seed in (0, 1))
        assert np.abs(first - second).max() > 1e-3

    def test_noise_is_new_at_each_step_and_repeats_in_validation(self, case):
        model = make(case)
        first = model.noise((64, 4), training=True).numpy()
        np.testing.assert_array_equal(first, model.noise((64, 4), training=True))
        model.optimizer.iterations.assign_add(1)
        assert abs(np.corrcoef(first.ravel(), np.ravel(model.noise((64, 4), True)))[0, 1]) < 0.3
        held = model.noise((64, 4), training=False)
        model.optimizer.iterations.assign_add(1)
        np.testing.assert_array_equal(held, model.noise((64, 4), training=False))


class TestGenerate:
    def test_an_image_depends_on_the_seed_and_its_number_alone(self, case):
        model = make(case)
        many = model.generate(70, seed=5)
        assert many.shape == (70, *SHAPE)
        assert many.dtype == np.float32
        assert many.min() >= 0
        assert many.max() <= 1
        for num in (0, 1, 4, 33):
            np.testing.assert_array_equal(model.generate(num, seed=5), many[:num])
        assert len(np.unique(many.reshape(70, -1), axis=0)) == 70
        assert np.abs(model.generate(4, seed=6) - many[:4]).max() > 1e-4

    def test_a_negative_number_is_an_error(self, case):
        with pytest.raises(ValueError, match="num=-1"):
            make(case).generate(-1)


class TestSave:
    def test_config_round_trip(self, case):
        model = make(case)
        config = model.get_config()
        again = type(model).from_config(config)
        assert again.get_config() == config
        assert again.count_params() == model.count_params()

    def test_an_uncompiled_model_stays_so(self, case, tmp_path):
        model = case.make(0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert not again.compiled
        np.testing.assert_array_equal(again.generate(2), model.generate(2))

    def test_saved_and_loaded_it_trains_on_as_if_nothing_had_been(self, case, images, tmp_path):
        schedule = keras.optimizers.schedules.CosineDecay(1e-2, 20)
        optimizers = {name: keras.optimizers.Adam(schedule) for name in case.optimizers}
        model = make(case, **optimizers, steps_per_execution=2)
        model.fit(images, batch_size=8, shuffle=False, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert again.steps_per_execution == 2
        for one in (model, again):
            one.fit(images, batch_size=8, shuffle=False, verbose=0)
        for name in case.optimizers:
            for ours, theirs in zip(
                getattr(model, name).variables, getattr(again, name).variables, strict=True
            ):
                np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
        for ours, theirs in zip(weights(model), weights(again), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestPrecision:
    @pytest.mark.parametrize("policy", POLICIES)
    def test_one_step_save_load_and_export(self, case, images, tmp_path, policy):
        keras.config.set_dtype_policy(policy)
        model = make(case)
        for name in case.optimizers:
            scaled = isinstance(getattr(model, name), keras.optimizers.LossScaleOptimizer)
            assert scaled == (policy == "mixed_float16")
        before = weights(model)
        # Steps enough for a loss scale to find its size.
        history = model.fit(images, batch_size=4, epochs=4, verbose=0).history
        assert np.isfinite(list(history.values())).all()
        assert any((a != b).any() for a, b in zip(before, weights(model), strict=True))
        assert all(v.dtype == "float32" for v in model.trainable_variables)
        generated = model.generate(3)
        assert generated.dtype == np.float32

        model.save(tmp_path / "model.keras")
        keras.config.set_dtype_policy("float32")  # the file knows its own
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.generate(3), generated)
        path = kmg.serving.export(again, tmp_path / "export")
        signature = tf.saved_model.load(str(path)).signatures["serving_default"]
        assert all(spec.dtype == tf.float32 for spec in signature.structured_outputs.values())
        (latents,) = signature.structured_input_signature[1].values()
        assert latents.dtype == tf.float32

    def test_half_precision_stays_near_single(self, case, images):
        losses = {}
        for policy in POLICIES:
            keras.config.set_dtype_policy(policy)
            model = make(case)
            losses[policy] = model.evaluate(images, verbose=0, return_dict=True)[case.loss]
        assert losses["mixed_bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
        assert losses["mixed_float16"] == pytest.approx(losses["float32"], rel=0.005)

    def test_float16_skips_a_step_that_overflows(self, case, images):
        keras.config.set_dtype_policy("mixed_float16")
        model = make(case)
        for name in case.optimizers:
            getattr(model, name).dynamic_scale.assign(1e38)
        before = [np.asarray(v) for v in model.trainable_variables]
        model.fit(images, batch_size=24, verbose=0)
        for ours, theirs in zip(before, model.trainable_variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for name in case.optimizers:
            assert float(getattr(model, name).dynamic_scale) < 1e38


class TestCompiled:
    def test_xla_takes_the_same_steps(self, case, images, monkeypatch):
        # Without noise: XLA draws other numbers from a seed that it does not know in advance.
        models = [make(case, jit_compile=jit, **plain_descent(case)) for jit in (False, True)]
        for model in models:
            noise_off(model, monkeypatch)
            model.fit(images, batch_size=8, shuffle=False, verbose=0)
        for ours, theirs in zip(*map(weights, models), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_eager_takes_the_same_steps(self, case, images):
        models = [make(case, run_eagerly=eager, **plain_descent(case)) for eager in (False, True)]
        for model in models:
            model.fit(images, batch_size=8, shuffle=False, verbose=0)
        for ours, theirs in zip(*map(weights, models), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


class TestIsolation:
    def test_each_optimizer_moves_its_own_networks_and_no_others(self, case, images):
        for moving, networks in case.optimizers.items():
            rates = {name: 1e-3 if name == moving else 0.0 for name in case.optimizers}
            model = make(case, **{n: keras.optimizers.SGD(rate) for n, rate in rates.items()})
            own = {id(v) for n in networks for v in getattr(model, n).trainable_variables}
            before = [(v, np.asarray(v)) for v in model.trainable_variables]
            model.train_step({"images": images})
            for variable, value in before:
                moved = (np.asarray(variable) != value).any()
                assert moved == (id(variable) in own), variable.path

    def test_every_trainable_variable_belongs_to_one_optimizer(self, case):
        model = make(case)
        moved = [
            id(v)
            for networks in model.networks().values()
            for n in networks
            for v in n.trainable_variables
        ]
        assert sorted(moved) == sorted(id(v) for v in model.trainable_variables)


class TestReplicas:
    @pytest.mark.parametrize(
        ("case", "clip"),
        # One method applies the gradients of all, once for each optimizer.
        [*((name, None) for name in MODELS), ("VAE", 0.1)],
        indirect=["case"],
    )
    def test_two_devices_equal_one(self, case, images, strategy, monkeypatch, clip):
        def made():
            rate = 1e-4 if clip is None else 1e-2
            return make(
                case,
                **{n: keras.optimizers.SGD(rate, global_clipnorm=clip) for n in case.optimizers},
            )

        # Batches of 8, 8 and 5: the last is split 3 to 2.
        data = batches(images[:21])
        single = made()
        with strategy.scope():
            double = made()
        histories = []
        for model in (single, double):
            noise_off(model, monkeypatch)
            histories.append(model.fit(data, validation_data=data, epochs=2, verbose=0).history)
        for name, values in histories[0].items():
            np.testing.assert_allclose(histories[1][name], values, rtol=1e-4, err_msg=name)
        for ours, theirs in zip(weights(single), weights(double), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)

    def test_noise_differs_per_replica_and_repeats_per_seed(self, case, strategy):
        with strategy.scope():
            model = make(case)

        def draw():
            per_replica = strategy.run(lambda: model.noise((4,), training=True))
            return [t.numpy() for t in strategy.experimental_local_results(per_replica)]

        first, second = draw()
        assert (first != second).all()
        np.testing.assert_array_equal([first, second], draw())

    def test_an_overflow_on_one_replica_skips_the_step_on_both(
        self, case, images, strategy, monkeypatch
    ):
        keras.config.set_dtype_policy("mixed_float16")
        with strategy.scope():
            model = make(case)
        original = model._objective

        def overflow_on_the_second(loss, networks):
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return original(loss, networks) * tf.where(tf.equal(replica, 1), np.inf, 1.0)

        monkeypatch.setattr(model, "_objective", overflow_on_the_second)
        before = [np.asarray(v) for v in model.trainable_variables]
        model.fit(batches(images), verbose=0)
        for value, variable in zip(before, model.trainable_variables, strict=True):
            np.testing.assert_array_equal(value, variable)


class TestExport:
    # That it loads without Keras, by three loaders: tests/serving/test_loaders.py.
    def test_signatures_are_what_the_model_does(self, case, images, tmp_path):
        model = make(case)
        model.fit(images, verbose=0)
        path = kmg.serving.export(model, tmp_path / "export", version=1)
        signatures = tf.saved_model.load(str(path)).signatures
        latents = np.random.default_rng(1).standard_normal((7, *model.latent_shape), np.float32)
        given = {"latents": latents, "images": images[:7], "seed": np.arange(7, dtype=np.int32)}
        drawn = np.concatenate([model.generate(1, seed=seed) for seed in range(7)])
        expected = {
            "serving_default": {"images": model.decode(latents)},
            "generate": {"images": drawn},
        }
        if hasattr(model, "encode"):
            expected["encode"] = model.encode(images[:7])
            expected["reconstruct"] = {"images": model.reconstruct(images[:7])}
        for name, outputs in expected.items():
            (argument,) = signatures[name].structured_input_signature[1]
            for count in (1, 7):
                found = signatures[name](**{argument: tf.constant(given[argument][:count])})
                assert set(found) == set(outputs)
                for key, value in outputs.items():
                    assert found[key].dtype == tf.float32
                    np.testing.assert_allclose(found[key], value[:count], atol=1e-4)
