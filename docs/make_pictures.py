"""Makes the pictures of docs/concepts.md, and prints the figures that stand under them.

    python docs/make_pictures.py --data pneumoniamnist.npz

Everything is seeded. The figures of points need no data; the others take PneumoniaMNIST
(MedMNIST v2, Yang et al. 2023, CC BY 4.0) and train a VAE with two latents for a minute or two.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import keras_medgen as kmg
from keras_medgen._marks import synthetic_mark

OUT = Path(__file__).parent / "pictures"
POINTS = 400  # of each kind, in the plane that stands for the space of images
FEATURES = 16  # of the picture of the floor
REPEATS = 50
SEED = 0
EPOCHS = 12
SHOWN = 200  # posteriors in the map
GRID = np.linspace(-2.5, 2.5, 11)  # latents that are decoded, along each axis
CLASSES = ("normal", "pneumonia")  # of PneumoniaMNIST
TIMESTEPS = (0, 50, 100, 200, 400, 700, 999)
GREY, TEAL, ORANGE = "0.6", "#00796b", "#e65100"


def main():
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="pneumoniamnist", help="PneumoniaMNIST, or its file")
    parser.add_argument("--only-points", action="store_true", help="what needs no data")
    arguments = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "savefig.dpi": 100})
    save_generators(OUT / "four_generators.png")
    save_floor(OUT / "floor.png")
    if arguments.only_points:
        return
    data = kmg.data.load(arguments.data)
    save_noise(OUT / "noise.png", data)
    save_plane(OUT / "latent_plane.png", data)


def real_points(random, num=POINTS):
    """Points of a plane in the place of images: three kinds, of which one is rare."""
    centres = np.array([[-2.0, 0.0], [1.5, 1.3], [1.5, -1.8]])
    kinds = random.choice(3, num, p=[0.5, 0.4, 0.1])
    return centres[kinds] + 0.45 * random.standard_normal((num, 2))


def generated_points(random, real):
    """From a title to what a generator that learnt from the real points gives."""
    other = real_points(random)
    largest_kind = random.permutation(other[other[:, 0] < -0.4])
    return {
        "as it should be": real_points(random),
        "noisy: little fidelity": other + 1.2 * random.standard_normal(other.shape),
        "collapsed: little diversity": np.resize(largest_kind, other.shape)
        + 0.05 * random.standard_normal(other.shape),
        "copies: not authentic": real + 0.005 * random.standard_normal(real.shape),
    }


def save_generators(path):
    """Four generators of points, each with the figures that show what is wrong with it."""
    random = np.random.default_rng(SEED)
    sums = {}
    for _ in range(REPEATS):  # figures are means, and the last draw is shown
        train, test, other = (real_points(random) for _ in range(3))
        floor = kmg.metrics.frechet_distance(test, other)
        made = generated_points(random, train)
        for title, points in made.items():
            found = kmg.metrics.precision_recall_density_coverage(train, points)
            found["AuthPct"] = 100 * kmg.metrics.authenticity(train, points)
            found["distance"] = kmg.metrics.frechet_distance(test, points)
            found["floor"] = floor
            for name, value in found.items():
                sums[title, name] = sums.get((title, name), 0) + value / REPEATS
    figure, places = plt.subplots(1, 4, figsize=(12, 3.9), layout="constrained")
    for axes, (title, points) in zip(places, made.items(), strict=True):
        axes.scatter(*train.T, s=9, color=GREY, label="real")
        axes.scatter(*points.T, s=5, color=ORANGE, label="generated")
        ratio = sums[title, "distance"] / sums[title, "floor"]
        lines = [
            f"precision {sums[title, 'precision']:.2f}   recall {sums[title, 'recall']:.2f}",
            f"coverage {sums[title, 'coverage']:.2f}   AuthPct {sums[title, 'AuthPct']:.0f}",
            f"distance to test over its floor {ratio:.3g}",
        ]
        axes.set(title=title, xlabel="\n".join(lines), xticks=[], yticks=[])
        axes.set(xlim=(-5, 4.5), ylim=(-5, 4))
        print(title, lines)
    places[0].legend(loc="lower left", markerscale=2)
    save(figure, path)


def save_floor(path):
    """How far equal sets are from each other, beside a set that differs, by how many there are."""
    random = np.random.default_rng(SEED)
    sizes = (25, 50, 100, 200, 400, 800, 1600)
    scales = {"real and real: the floor": 1.0, "real and generated": 1.15}
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for (name, scale), colour in zip(scales.items(), ("0.35", ORANGE), strict=True):
        found = []
        for size in sizes:
            pairs = random.standard_normal((REPEATS, 2, size, FEATURES))
            distances = [kmg.metrics.frechet_distance(real, scale * other) for real, other in pairs]
            found.append(np.percentile(distances, [2.5, 50, 97.5]))
        low, middle, high = np.transpose(found)
        print(name, dict(zip(sizes, np.round(middle, 3).tolist(), strict=True)))
        axes.plot(sizes, middle, color=colour, marker=".", label=name)
        axes.fill_between(sizes, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="images on each side", ylabel="Fréchet distance")
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
    axes.legend()
    save(figure, path)


def save_noise(path, data):
    """One image at several timesteps of two schedules."""
    image = data.arrays("test", limit=1)["images"]
    schedules = ("cosine", "linear")
    rows = []
    for schedule in schedules:
        model = kmg.models.Diffusion(data.image_shape, schedule=schedule, seed=SEED)
        rows.append([model.noised(image, timestep)[0, ..., 0] for timestep in TIMESTEPS])
        print(schedule, {t: round(float(model.alpha_bars[t]), 3) for t in TIMESTEPS})
    titles = [f"t = {timestep}" for timestep in TIMESTEPS]
    kmg.pictures.save_panels(path, rows, list(schedules), titles, synthetic=False)


def save_plane(path, data):
    """Posteriors and prior of a VAE with two latents, and what it decodes from their plane."""
    model = kmg.models.VAE(data.image_shape, latent_dim=2, seed=SEED)
    model.compile()
    model.fit(data.train, epochs=EPOCHS, verbose=2)
    shown = data.arrays("val", limit=SHOWN)
    posterior = model.encode(shown["images"])
    deviations = np.exp(0.5 * posterior["log_var"])
    everything = model.encode(data.arrays("train")["images"])["mean"]
    print("of the means", everything.mean(0), everything.std(0), "largest", abs(everything).max(0))

    figure, (plane, decoded) = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    for number, name in enumerate(CLASSES):
        rows = shown["labels"] == number
        colour = (TEAL, ORANGE)[number]
        for mean, deviation in zip(posterior["mean"][rows], deviations[rows], strict=True):
            size = 2 * deviation
            ellipse = plt.matplotlib.patches.Ellipse(mean, *size, color=colour, alpha=0.35, lw=0)
            plane.add_patch(ellipse)
        plane.scatter(*posterior["mean"][rows].T, s=4, color=colour, label=name)
    for radius in (1, 2):
        circle = plt.Circle((0, 0), radius, fill=False, color="0.4", linestyle="--", linewidth=1)
        plane.add_patch(circle)
    plane.plot([], [], color="0.4", linestyle="--", linewidth=1, label="prior, 1 and 2 deviations")
    side = GRID[-1] + 0.25
    limits = {"xlim": (-side, side), "ylim": (-side, side), "aspect": "equal"}
    plane.set(title="Posteriors of validation images, to one deviation", **limits)
    plane.set(xlabel="first latent", ylabel="second latent")
    plane.legend(loc="lower left", fontsize=8)
    latents = np.stack(np.meshgrid(GRID, GRID[::-1]), axis=-1).reshape(-1, 2)
    images = np.pad(model.decode(latents)[..., 0], [(0, 0), (1, 1), (1, 1)], constant_values=1)
    height, width = images.shape[1:]
    images = images.reshape(len(GRID), len(GRID), height, width)
    canvas = images.transpose(0, 2, 1, 3).reshape(len(GRID) * height, -1)
    decoded.imshow(canvas, cmap="gray", vmin=0, vmax=1, extent=(-side, side, -side, side))
    decoded.set(title="What the decoder makes of the same plane", xlabel="first latent")
    decoded.set(xticks=[-2, -1, 0, 1, 2], yticks=[-2, -1, 0, 1, 2])
    save(figure, path, synthetic="true")


def save(figure, path, synthetic=False):
    """Writes a figure, marked where it shows generated images."""
    figure.savefig(path, pil_kwargs={"pnginfo": synthetic_mark(synthetic)} if synthetic else {})
    plt.close(figure)
    print(path)


if __name__ == "__main__":
    main()
