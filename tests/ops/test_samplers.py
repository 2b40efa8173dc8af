import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from keras_medgen.ops.denoising import PREDICTIONS, clean_and_noise, loss_weight, prediction_target
from keras_medgen.ops.noise_schedules import SCHEDULES, alpha_bars
from keras_medgen.ops.samplers import (
    SAMPLERS,
    SPACINGS,
    run_steps,
    sampler_steps,
    spaced_timesteps,
)

ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "samplers.json").read_text())
LINEAR = alpha_bars("linear", 1000)
COUNT = 768
INPUT = np.moveaxis(np.arange(COUNT).reshape(3, 8, 8, 4) / COUNT, -1, 0).astype(np.float32)
REVERSED = np.moveaxis(np.arange(COUNT)[::-1].reshape(3, 8, 8, 4) / COUNT, -1, 0)


def case(name):
    return ORACLE["cases"][name]


def sample(sampler, start, timesteps, next_alpha_bars, predict=None, clip=(-1, 1), **arguments):
    """Runs a sampler in float64, from timesteps and the ᾱ that each step goes to."""
    bars = arguments.pop("bars", LINEAR)
    steps = sampler_steps(sampler, bars[timesteps], next_alpha_bars, arguments.pop("eta", 0.0))
    steps = {name: tf.constant(column) for name, column in steps.items()}
    steps["timestep"] = tf.constant(timesteps, tf.int32)
    start = tf.constant(start, tf.float64)
    prediction = arguments.pop("prediction", "noise")
    predict = predict or (lambda x, t: x * tf.cast(t / (t + 1), tf.float64))

    @tf.function
    def run():
        return run_steps(
            steps, start, tf.zeros_like(start), predict, prediction, clip, **arguments
        )[0]

    return run().numpy()


def sums(x):
    return [np.abs(x).sum(), np.abs(x).mean()]


def assert_sums(x, name):
    expected = case(name)
    for value, number, tolerance in zip(
        sums(x), expected["expected"], expected["tolerance"], strict=True
    ):
        if number is not None:
            assert value == pytest.approx(number, abs=tolerance)
    assert sums(x) == pytest.approx(expected["verified_here"], rel=2e-5)


def noised(timestep):
    signal, sigma = np.sqrt(LINEAR[timestep]), np.sqrt(1 - LINEAR[timestep])
    return signal * INPUT + sigma * REVERSED


def torch_normals(seed, draws, count):
    """PyTorch's stream of standard normals on the CPU; see the oracle's `torch_rng_note`."""
    generator = np.random.MT19937()
    generator._legacy_seeding(seed)
    raw = generator.random_raw(draws * count).astype(np.int64)
    uniform = ((raw & (2**24 - 1)) / 2**24).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - uniform[:, 0]))
    angle = 2 * np.pi * uniform[:, 1]
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return normals.reshape(draws, count)


def following(timesteps, bars=LINEAR, last=1.0):
    return np.append(bars[timesteps[1:]], last)


class TestPublishedCases:
    @pytest.mark.parametrize("name", ["ddim10", "ddim10_v", "ddim10_alpha1", "ddim10_alpha0"])
    def test_ddim(self, name):
        timesteps = np.arange(900, -1, -100)
        bars = np.cumprod(1 - np.linspace(0.01 if "alpha" in name else 1e-4, 0.02, 1000))
        last = bars[0] if name.endswith("alpha0") else 1.0
        result = sample(
            "ddim",
            INPUT,
            timesteps,
            following(timesteps, bars, last),
            bars=bars,
            prediction="velocity" if name.endswith("_v") else "noise",
        )
        assert_sums(result, f"diffusers_{name}")

    def test_ddim_from_a_partly_noised_image(self):
        timesteps = np.array([100, 0])
        result = sample("ddim", noised(100), timesteps, following(timesteps))
        assert_sums(result, "diffusers_ddim_partial")

    @pytest.mark.parametrize("prediction", ["noise", "velocity"])
    def test_ddpm_of_a_thousand_steps(self, prediction):
        timesteps = np.arange(999, -1, -1)
        noise = tf.constant(torch_normals(0, 999, COUNT).reshape(999, *INPUT.shape))
        result = sample(
            "ddpm",
            INPUT,
            timesteps,
            following(timesteps),
            prediction=prediction,
            fresh_noise=lambda t: noise[tf.minimum(999 - t, 998)],  # none is added at t = 0
        )
        assert_sums(result, "diffusers_ddpm1000" + ("_v" if prediction == "velocity" else ""))

    def test_ddpm_from_a_partly_noised_image(self):
        timesteps = np.array([1, 0])
        noise = tf.constant(torch_normals(0, 1, COUNT).reshape(INPUT.shape))
        result = sample(
            "ddpm", noised(1), timesteps, following(timesteps), fresh_noise=lambda t: noise
        )
        assert_sums(result, "diffusers_ddpm_partial")

    @pytest.mark.parametrize("name", ["10", "10_v", "partial"])
    def test_dpm_solver(self, name):
        timesteps = np.linspace(0, 999, 11).round().astype(int)[::-1][:-1]
        start = INPUT
        if name == "partial":
            timesteps = timesteps[5:]
            start = noised(timesteps[0])
        result = sample(
            "dpm_solver++",
            start,
            timesteps,
            following(timesteps, last=LINEAR[0]),
            clip=None,
            prediction="velocity" if name == "10_v" else "noise",
        )
        assert_sums(result, f"diffusers_dpmpp2m_{name}")

    @pytest.mark.parametrize(("sampler", "stride"), [("ddim", 20), ("ddpm", 1)])
    def test_monai_loops(self, sampler, stride):
        given = {name: np.array(value) for name, value in ORACLE["monai"].items()}
        noise = tf.constant(np.concatenate([np.zeros((1, 4)), given["ddpm_noise_t1_to_t49"]]))
        timesteps = np.arange(50)  # upwards, as MONAI's test has them
        before = timesteps - stride
        result = sample(
            sampler,
            given["sample"],
            timesteps,
            np.where(before < 0, 1.0, LINEAR[before]),
            predict=lambda x, t: tf.constant(given["model_output"]),
            fresh_noise=None if sampler == "ddim" else lambda t: noise[t],
        )
        expected = case(f"monai_{sampler}_loop")
        np.testing.assert_allclose(result, expected["expected"], atol=expected["tolerance"])

    @pytest.mark.parametrize(
        ("now", "after", "variance"),
        [(420, 400, 0.14771), (980, 960, 0.32460), (487, 486, 0.00979), (999, 998, 0.02)],
    )
    def test_variance(self, now, after, variance):
        arguments = [LINEAR[now]], [LINEAR[after]]
        ddpm = sampler_steps("ddpm", *arguments)["fresh_noise"] ** 2
        ddim = sampler_steps("ddim", *arguments, eta=1.0)["fresh_noise"] ** 2
        assert ddpm == pytest.approx(variance, abs=1e-5)
        assert ddim == pytest.approx(ddpm, rel=1e-12)


def gaussian_moments(sampler, bars, mean, deviation):
    """Mean and variance of what a sampler makes of normal noise, of data N(mean, deviation²).

    The optimal denoiser is linear, so each step is x' = slope x + offset + spread z; the formulas
    are those of the papers, one for each sampler, and not the table under test.
    """
    m, v = 0.0, 1.0
    slope_before = offset_before = step_before = None
    # Second order needs the joint moments of x and of the clean image of the step before.
    covariance = np.zeros((2, 2))
    for a, b in itertools.pairwise(bars):
        gain = deviation**2 * np.sqrt(a) / (a * deviation**2 + 1 - a)
        slope, offset = gain, mean * (1 - np.sqrt(a) * gain)  # of the clean image, given x
        if sampler == "ddpm":
            alpha = a / b
            x = np.sqrt(alpha) * (1 - b) / (1 - a)
            clean = np.sqrt(b) * (1 - alpha) / (1 - a)
            m, v = (
                (x + clean * slope) * m + clean * offset,
                (x + clean * slope) ** 2 * v + (1 - alpha) * (1 - b) / (1 - a),
            )
        elif sampler == "ddim":
            ratio = np.sqrt((1 - b) / (1 - a))
            clean = np.sqrt(b) - np.sqrt(a) * ratio
            m, v = (ratio + clean * slope) * m + clean * offset, (ratio + clean * slope) ** 2 * v
        else:
            lambdas = [0.5 * np.log(r / (1 - r)) if r < 1 else np.inf for r in (a, b)]
            step = lambdas[1] - lambdas[0]
            weight = -np.sqrt(b) * np.expm1(-step)
            ratio = np.sqrt((1 - b) / (1 - a))
            if step_before is None:
                covariance[0, 0] = v
                covariance[1] = covariance[:, 1] = 0
                extra = 0.0
            else:
                extra = 0.0 if np.isinf(step) else 0.5 * step / step_before
            matrix = np.array(
                [[ratio + weight * (1 + extra) * slope, -weight * extra], [slope, 0.0]]
            )
            means = matrix @ [m, 0.0 if slope_before is None else offset_before]
            means += [weight * (1 + extra) * offset, offset]
            covariance = matrix @ covariance @ matrix.T
            m, offset_before = means
            v, slope_before, step_before = covariance[0, 0], slope, step
    return m, v


class TestGaussianData:
    """With the optimal denoiser of data N(0.3, s²), everything is known in closed form."""

    mean = 0.3

    @pytest.mark.parametrize("deviation", [0.25, 0.5, 1.0])
    @pytest.mark.parametrize("num_steps", [50, 1000])
    @pytest.mark.parametrize("sampler", SAMPLERS)
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("spacing", SPACINGS)
    def test_moments(self, spacing, schedule, sampler, num_steps, deviation):
        bars = alpha_bars(schedule, 1000)
        timesteps = spaced_timesteps(num_steps, 999, spacing)

        def optimal(x, timestep):  # the noise that is to be expected in x
            share = tf.gather(bars, timestep)
            signal, sigma = tf.sqrt(share), tf.sqrt(1 - share)
            spread = sigma**2 + signal**2 * deviation**2
            return sigma * (x - signal * self.mean) / spread

        # Everything is linear: noise of orthogonal rows has the moments of infinitely many draws.
        rows = tf.constant(scipy.linalg.hadamard(1024), tf.float64)
        result = sample(
            sampler,
            rows[1000],
            timesteps,
            following(timesteps, bars),
            predict=optimal,
            clip=None,
            bars=bars,
            fresh_noise=(lambda t: rows[tf.maximum(t, 1)]) if sampler == "ddpm" else None,
        )
        mean, variance = gaussian_moments(
            sampler, np.append(bars[timesteps], 1.0), self.mean, deviation
        )
        assert result.mean() == pytest.approx(mean, rel=1e-6)
        assert result.var() == pytest.approx(variance, rel=1e-6)
        if num_steps == 1000 and deviation >= 0.5:
            assert result.var() == pytest.approx(deviation**2, rel=0.02)
            assert result.mean() == pytest.approx(self.mean, rel=0.02)


class TestSteps:
    def test_spaced(self):
        np.testing.assert_array_equal(spaced_timesteps(4, 999), [999, 749, 499, 249])
        np.testing.assert_array_equal(spaced_timesteps(1000, 999), np.arange(999, -1, -1))
        for num_steps in (7, 25, 333):
            timesteps = spaced_timesteps(num_steps, 999)
            assert timesteps[0] == 999
            assert len(np.unique(timesteps)) == num_steps
            assert np.ptp(-np.diff(timesteps)) <= 1

    def test_spaced_quadratically(self):
        np.testing.assert_array_equal(spaced_timesteps(4, 999, "quadratic"), [999, 561, 249, 61])
        np.testing.assert_array_equal(
            spaced_timesteps(1000, 999, "quadratic"), np.arange(999, -1, -1)
        )
        for num_steps in (7, 25, 333, 900):
            timesteps = spaced_timesteps(num_steps, 999, "quadratic")
            strides = -np.diff(timesteps)
            assert timesteps[0] == 999
            assert timesteps[-1] == max(round(1000 / num_steps**2), 1) - 1
            assert strides.min() >= 1
            assert np.diff(strides).max() <= 1  # but for rounding, they only fall

    def test_unknown_spacing(self):
        with pytest.raises(ValueError, match=r"even, quadratic.*spacing='karras'"):
            spaced_timesteps(4, 999, "karras")

    @pytest.mark.parametrize("num_steps", [0, 102, 2.5])
    def test_more_steps_than_timesteps(self, num_steps):
        with pytest.raises(ValueError, match=f"from 1 to 101.*num_steps={num_steps}"):
            spaced_timesteps(num_steps, 100)

    def test_arguments(self):
        with pytest.raises(ValueError, match="euler"):
            sampler_steps("euler", [0.1], [1.0])
        with pytest.raises(ValueError, match="eta"):
            sampler_steps("ddpm", [0.1], [1.0], eta=0.5)
        for eta in (-1, 3):
            with pytest.raises(ValueError, match=f"eta={eta}"):
                sampler_steps("ddim", [0.1], [1.0], eta=eta)

    def test_steps_can_be_taken_in_parts(self, rng):
        timesteps = spaced_timesteps(6, 999)
        steps = sampler_steps("dpm_solver++", LINEAR[timesteps], following(timesteps))
        steps["timestep"] = timesteps.astype(np.int32)
        state = whole = (tf.constant(rng.standard_normal(5)), tf.zeros(5, tf.float64))

        def run(state, part):
            columns = {name: tf.constant(column[part]) for name, column in steps.items()}
            return run_steps(columns, *state, lambda x, t: 0.9 * x, "noise")

        for part in (slice(0, 4), slice(4, 6)):
            state = run(state, part)
        np.testing.assert_allclose(state[0], run(whole, slice(None))[0], rtol=1e-12)


class TestSchedules:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("num_timesteps", [100, 1000])
    def test_from_nearly_all_to_nearly_nothing(self, schedule, num_timesteps):
        bars = alpha_bars(schedule, num_timesteps)
        assert bars.shape == (num_timesteps,)
        assert (np.diff(bars) < 0).all()
        assert 0.985 < bars[0] < 1
        assert 0 < bars[-1] < 6e-3

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_fewer_timesteps_are_places_of_the_same_curve(self, schedule):
        few, many = alpha_bars(schedule, 10), alpha_bars(schedule, 1000)
        np.testing.assert_allclose(few[:-1], many[99:-1:100], rtol=1e-9)

    def test_published_values(self):
        # The signal's share at the end: Ho et al. 4.0e-5; Rombach et al. 0.00466.
        assert alpha_bars("linear", 1000)[-1] == pytest.approx(4.036e-5, rel=1e-3)
        assert alpha_bars("scaled_linear", 1000)[-1] == pytest.approx(0.00466, rel=1e-3)
        half = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2
        start = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
        assert alpha_bars("cosine", 1000)[499] == pytest.approx(half / start, rel=1e-9)

    def test_arguments(self):
        with pytest.raises(ValueError, match="sigmoid"):
            alpha_bars("sigmoid", 1000)
        with pytest.raises(ValueError, match="at least 2"):
            alpha_bars("linear", 1)


class TestPredictions:
    @pytest.mark.parametrize("prediction", PREDICTIONS)
    def test_a_perfect_prediction_gives_image_and_noise_back(self, rng, prediction):
        clean, noise = rng.standard_normal((2, 3, 4))
        signal, sigma = 0.6, 0.8
        target = prediction_target(prediction, clean, noise, signal, sigma)
        found = clean_and_noise(prediction, target, signal * clean + sigma * noise, signal, sigma)
        np.testing.assert_allclose(found, [clean, noise], rtol=1e-12)

    @pytest.mark.parametrize("prediction", PREDICTIONS)
    def test_weights_are_those_of_one_error_of_the_image(self, rng, prediction):
        # Whatever is predicted, the weighted loss is min(SNR, γ) times the image's squared error.
        for share in (0.05, 0.5, 0.99):
            signal, sigma = tf.constant(share**0.5), tf.constant((1 - share) ** 0.5)
            noised, output, other = rng.standard_normal((3, 100)).astype(np.float32)
            images = [
                clean_and_noise(prediction, x, noised, signal, sigma)[0] for x in (output, other)
            ]
            weight = float(loss_weight(prediction, signal, sigma, 5.0))
            expected = min(share / (1 - share), 5.0) * np.square(images[0] - images[1]).mean()
            assert weight * np.square(output - other).mean() == pytest.approx(expected, rel=1e-4)
            assert float(loss_weight(prediction, signal, sigma, None)) == 1
