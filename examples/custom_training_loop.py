"""Train a VAE without `fit`: by a loop of one's own, and by a subclass with a loss of one's own.

A hand-written `tf.GradientTape` loop takes the very steps of `fit`: after a few, weights differ by
rounding alone; after hundreds that has made two trainings of them. Who needs another algorithm
starts from it; who needs another loss alone, from a subclass, which keeps all that `fit` gives
(callbacks, mixed precision, saving): here the differences of neighbouring pixels count too.

Data: PneumoniaMNIST (MedMNIST v2, https://medmnist.com, CC BY 4.0), downloaded by its name; or what
else `kmg.data.load` takes. Then: python examples/custom_training_loop.py --out runs/custom
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_medgen as kmg

EPOCHS, BATCH_SIZE = 10, 64
IMAGE_SIZE = None  # pixels a side, where images differ in it; None leaves them as they are
KL_WEIGHT = 5.0  # the default that goes with a calibrated reconstruction
LEARNING_RATE = 1e-3  # of Adam with beta_2 = 0.95: what `compile()` takes
EDGE_WEIGHT = 0.1  # nats for each nat of the image's own likelihood

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", help="what kmg.data.load takes; default pneumoniamnist")
parser.add_argument("--out", type=Path, default=Path("runs/custom_training_loop"))
parser.add_argument("--fast", action="store_true", help="a few steps, on built-in images")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
source = options.data or ("histology_patches" if options.fast else "pneumoniamnist")
limit, epochs, size = (128, 2, 16) if options.fast else (None, EPOCHS, IMAGE_SIZE)
data = kmg.data.load(source, image_size=size, deduplicate="drop", seed=options.seed)
train, test = (data.arrays(split, limit)["images"] for split in ("train", "test"))
# In one order in every epoch: were it drawn anew, `fit` would draw once more than the loop does.
train = np.random.default_rng(options.seed).permutation(train)
batches = tf.data.Dataset.from_tensor_slices(train).batch(BATCH_SIZE)


def new(model_class):
    """A model at the same weights as every other, and with the same noise to come."""
    model = model_class(data.image_shape, latent_dim=64, kl_weight=KL_WEIGHT, seed=options.seed)
    model.compile(learning_rate=LEARNING_RATE)
    return model


def step_by_hand(model):
    """A step of `fit`, written out: Kingma and Welling 2013, with a calibrated variance."""
    encoder, decoder, likelihood = model.encoder, model.decoder, kmg.losses.CalibratedGaussian()
    variables = encoder.trainable_variables + decoder.trainable_variables

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            posterior = encoder(images, training=True)
            mean, log_var = posterior["mean"], posterior["log_var"]
            noise = model.noise(tf.shape(mean), training=True)  # of the seed and of the step
            reconstructions = decoder(mean + tf.exp(0.5 * log_var) * noise, training=True)
            kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - 1 - log_var, axis=1)
            nll = likelihood(images, reconstructions, training=True)
            loss = tf.reduce_mean(nll + KL_WEIGHT * kl)  # nats an image
        model.optimizer.apply(tape.gradient(loss, variables), variables)

    return step


@keras.saving.register_keras_serializable(package="examples")  # so that it can be loaded again
class EdgeVAE(kmg.models.VAE):
    """A VAE that compares the differences between neighbouring pixels too."""

    def compute_losses(self, batch, training):
        """What the optimizer descends and what is logged, each a number for every image."""
        posterior = self.posterior(batch["images"], training=training)
        mean, stddev = posterior.mean(), posterior.stddev()
        latents = mean + stddev * self.noise(tf.shape(mean), training)
        reconstructions = self.decoded(latents, training=training)
        nll = self.reconstruction(batch["images"], reconstructions, training=training)
        kl = tf.reduce_sum(self.kl_divergence(posterior, latents), axis=1)
        # n/2 log of the error, as a likelihood with a fitted variance has: no scale to be chosen.
        error = edge_error(batch["images"], reconstructions) + 1e-6
        edges = 0.5 * np.prod(self.image_shape).astype("float32") * tf.math.log(error)
        loss = nll + self.kl_weight * self.kl_scale * kl + EDGE_WEIGHT * edges
        return {"optimizer": loss}, {"loss": loss, "reconstruction_loss": nll, "kl_loss": kl}


def edge_error(a, b):
    """The mean squared difference of the images' slopes, (n,)."""
    slopes = tf.image.image_gradients(tf.convert_to_tensor(a - b))
    return sum(tf.reduce_mean(slope**2, axis=(1, 2, 3)) for slope in slopes)


def train_on(dataset, name):
    """Trains one of the models, by one pass."""
    [*map(step, dataset)] if name == "by_hand" else models[name].fit(dataset, verbose=2)


models = {"fit": new(kmg.models.VAE), "by_hand": new(kmg.models.VAE), "edges": new(EdgeVAE)}
step, figures, rows = step_by_hand(models["by_hand"]), {}, [test[:8]]
for name in models:
    train_on(batches.take(4), name)
both = [models[name].encoder.get_weights() for name in ("fit", "by_hand")]
gap = max(float(np.abs(a - b).max()) for a, b in zip(*both, strict=True))
for name, model in models.items():
    started = time.monotonic()
    train_on(batches.repeat(epochs), name)
    figures[name] = {"seconds": time.monotonic() - started}
    made = model.reconstruct(test)
    quality = kmg.evaluation.reconstruction_quality(test, made)
    figures[name] |= quality | {"edge_error": float(np.mean(edge_error(test, made)))}
    rows.append(made[:8])
    print(name, json.dumps(figures[name]))
kmg.pictures.save_grid(options.out / "reconstructions.png", np.concatenate(rows), 8, "partly")
report = {"data": data.provenance, "seed": options.seed, "epochs": epochs, "gap": gap}
(options.out / "report.json").write_text(json.dumps(report | {"models": figures}, indent=2) + "\n")
print(f"After 4 steps the encoders of fit and of the loop by hand differ by {gap:.2g} at most.")
print(f"reconstructions.png (test images, then the models in turn), report.json: {options.out}")
