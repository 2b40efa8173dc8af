"""From settings to a compiled model."""

from pathlib import Path

import keras
import numpy as np

from keras_medgen import data, models, networks
from keras_medgen.cli import options, runs
from keras_medgen.cli.settings import Settings

STEPS_PER_EXECUTION = 8  # between two returns to Python: a tenth faster on small images
STAGED = ("convolutional", "dcgan")  # networks that can have spectral normalisation
WITH_WIDTH = (*STAGED, "larsen")
EXPONENTIAL_FALL = 0.01  # of the learning rate, over the training


def compiled_model(settings: Settings, images: data.ImageData) -> models.GenerativeModel:
    """The model of a run, compiled.

    Args:
        settings: of the run.
        images: that it is to be trained on.

    Raises:
        ValueError: for settings that do not go with each other, or with the images.
    """
    if settings.conditional and not images.num_classes:
        raise ValueError(f"--conditional needs labels: {settings.data} has none.")
    if settings.mask_weight != 1 and "masks" not in images.train.element_spec:
        raise ValueError(f"--mask-weight needs masks: {settings.data} has none.")
    if settings.fit_prior is not None and settings.conditional and images.task != "multi-label":
        _check_classes(images)
    model = BUILDERS[settings.model](settings, images)
    highest = settings.learning_rate or model.default_learning_rate
    own = {"loss": settings.loss, "r1": settings.r1} if settings.model == "gan" else {}
    for name in ("discriminator_rate", "gradient_penalty", "critic_steps"):
        if getattr(settings, name) is not None:
            own[name] = getattr(settings, name)
    model.compile(
        **own,
        learning_rate=learning_rate(settings, highest, settings.epochs * len(images.train)),
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def _vae(settings, images):
    model = models.VAE(
        images.image_shape,
        **_common(settings, images),
        reconstruction=settings.reconstruction,
        prior=settings.prior,
        prior_components=settings.prior_components,
        kl_weight="auto" if settings.kl_weight is None else settings.kl_weight,
        free_bits=settings.free_bits,
        capacity=settings.capacity,
        mask_weight=settings.mask_weight,
        input_noise=settings.input_noise,
        encoder=_network(settings, images, "encoder", 2 * settings.seed),
        decoder=_network(settings, images, "decoder", 2 * settings.seed + 1),
    )
    if settings.prior == "vamp":
        first = images.arrays("train", limit=settings.prior_components)["images"]
        model.prior.start_from(np.resize(first, (settings.prior_components, *first.shape[1:])))
    return model


def _vaegan(settings, images):
    seed, tanh = 3 * settings.seed, {"output_activation": "tanh"}
    given = {"gamma": settings.gamma, "kl_weight": settings.kl_weight}
    return models.VAEGAN(
        images.image_shape,
        **_common(settings, images),
        **{name: value for name, value in given.items() if value is not None},
        adversarial=settings.adversarial,
        fakes=settings.fakes,
        encoder=_network(settings, images, "encoder", seed),
        decoder=_network(settings, images, "decoder", seed + 1, **tanh),
        discriminator=_discriminator(settings, images, seed + 2),
    )


def _gan(settings, images):
    kind = "generator" if settings.network == "dcgan" else "decoder"
    tanh = {} if kind == "generator" else {"output_activation": "tanh"}
    return models.GAN(
        images.image_shape,
        **_common(settings, images),
        augmentation=_augmentation(settings),
        generator=_network(settings, images, kind, 2 * settings.seed, **tanh),
        discriminator=_discriminator(settings, images, 2 * settings.seed + 1),
    )


def _diffusion(settings, images):
    given = {"num_classes": images.num_classes if settings.conditional else None}
    given["seed"] = settings.seed
    autoencoder = settings.autoencoder and runs.load_model(Path(settings.autoencoder))
    grid = getattr(autoencoder, "latent_grid", None) or images.image_shape
    return models.Diffusion(
        images.image_shape,
        **given,
        autoencoder=autoencoder,
        schedule=settings.noise_schedule,
        prediction=settings.prediction,
        noise=settings.noise,
        min_snr=settings.min_snr,
        denoiser=networks.unet(grid, blocks=settings.blocks, **_width(settings), **given),
    )


BUILDERS = {"vae": _vae, "vaegan": _vaegan, "gan": _gan, "diffusion": _diffusion}


def _augmentation(settings):
    names = [name.strip() for name in settings.discriminator_augmentation.split(",")]
    return tuple(name for name in names if name)


def _common(settings, images):
    grid = settings.latent_grid
    return {
        "latent_dim": settings.latent_dim if grid is None else options.parse_grid(grid),
        "num_classes": images.num_classes if settings.conditional else None,
        "seed": settings.seed,
    }


def _network(settings, images, kind, seed, **arguments):
    """An encoder, decoder or generator."""
    family = settings.network
    common = _common(settings, images) | {"seed": seed}
    if settings.latent_grid is not None:
        if family != "convolutional":
            raise ValueError(
                f"--latent-grid needs --network convolutional. Received: --network {family}."
            )
        family, common["latent_grid"] = "spatial", common.pop("latent_dim")
    build = getattr(networks, f"{family}_{kind}", None)
    if build is None:
        raise ValueError(
            f"--network {family} has no {kind}: it is not for --model {settings.model}."
        )
    return build(images.image_shape, **common, **_width(settings), **arguments)


def _discriminator(settings, images, seed):
    arguments = {"num_classes": _common(settings, images)["num_classes"], "seed": seed}
    arguments |= _width(settings)
    if settings.spectral_normalization:
        if settings.network not in STAGED:
            raise ValueError(
                "--spectral-normalization needs --network convolutional or dcgan. "
                f"Received: --network {settings.network}."
            )
        arguments["spectral_normalization"] = True
    build = getattr(networks, f"{settings.network}_discriminator")
    return build(images.image_shape, dropout=settings.dropout, **arguments)


def _width(settings):
    """The argument `width` of networks, where it is given."""
    if settings.width is None:
        return {}
    if settings.network not in WITH_WIDTH:
        raise ValueError(
            f"--width needs --network {', '.join(WITH_WIDTH[:-1])} or {WITH_WIDTH[-1]}. "
            f"Received: --network {settings.network}."
        )
    if settings.network == "convolutional" and settings.width % 8:
        raise ValueError(
            "--width must be divisible by 8 for --network convolutional. "
            f"Received: --width {settings.width}."
        )
    return {"width": settings.width}


def _check_classes(images):
    present = set(images.arrays("train")["labels"].ravel().tolist())
    missing = sorted(set(range(images.num_classes)) - present)
    if missing:
        raise ValueError(
            "--fit-prior with --conditional needs images of each class to train on: there are "
            f"none of {', '.join(images.class_names[i] for i in missing)}."
        )


def learning_rate(
    settings: Settings, highest: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a training of so many steps, of which it is at most `highest`.

    Raises:
        ValueError: for a warm-up that is not over before the training is, or that Keras has not.
    """
    schedules = keras.optimizers.schedules
    rise = settings.warmup_steps
    if rise >= steps:
        raise ValueError(
            f"--warmup-steps must be fewer than the {steps} steps of the training. "
            f"Received: --warmup-steps {rise}."
        )
    if settings.schedule == "exponential":
        if rise:
            raise ValueError(
                "--warmup-steps needs --schedule cosine or constant. Received: --schedule "
                f"exponential, --warmup-steps {rise}."
            )
        return schedules.ExponentialDecay(highest, steps, EXPONENTIAL_FALL)
    if settings.schedule == "constant":
        return schedules.PolynomialDecay(0.0, rise, highest) if rise else highest
    if not rise:
        return schedules.CosineDecay(highest, steps)
    return schedules.CosineDecay(0.0, steps - rise, warmup_target=highest, warmup_steps=rise)
