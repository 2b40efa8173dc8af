"""What decides a run's model, and the model that it decides on."""

import dataclasses

import keras
import numpy as np

from keras_medgen import data, models, networks

STEPS_PER_EXECUTION = 8  # between two returns to Python: a tenth faster on small images
EXPONENTIAL_FALL = 0.01  # of the learning rate, over the training


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run's model will be, but the machine and the versions."""

    data: str
    model: str = "vae"
    image_size: int | None = None
    channels: int | None = None
    resize: str = "pad"
    window: str | None = None
    axis: int | None = None
    deduplicate: str = "report"
    balance: bool = False
    augment: str | None = None
    batch_size: int = 64
    network: str = "convolutional"
    latent_dim: int = 64
    conditional: bool = False
    reconstruction: str = "gaussian"
    prior: str = "standard_normal"
    prior_components: int = 32
    kl_weight: float | None = None
    kl_schedule: str | None = None
    free_bits: float = 0.0
    capacity: float | None = None
    mask_weight: float = 1.0
    input_noise: float = 0.0
    fit_prior: int | None = None
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float | None = None
    clip_norm: float | None = None
    epochs: int = 20
    max_minutes: float | None = None
    mixed_precision: str = "off"
    seed: int = 0


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
    num_classes = images.num_classes if settings.conditional else None
    if settings.fit_prior is not None and num_classes and images.task != "multi-label":
        missing = set(range(num_classes)) - set(images.arrays("train")["labels"].ravel().tolist())
        if missing:
            raise ValueError(
                f"--fit-prior with --conditional needs images of each class to train on: there "
                f"are none of {', '.join(images.class_names[i] for i in sorted(missing))}."
            )
    encoder, decoder = (
        getattr(networks, f"{settings.network}_{part}")(
            images.image_shape,
            settings.latent_dim,
            num_classes=num_classes,
            seed=2 * settings.seed + number,
        )
        for number, part in enumerate(("encoder", "decoder"))
    )
    model = models.VAE(
        images.image_shape,
        latent_dim=settings.latent_dim,
        num_classes=num_classes,
        reconstruction=settings.reconstruction,
        prior=settings.prior,
        prior_components=settings.prior_components,
        kl_weight="auto" if settings.kl_weight is None else settings.kl_weight,
        free_bits=settings.free_bits,
        capacity=settings.capacity,
        mask_weight=settings.mask_weight,
        input_noise=settings.input_noise,
        seed=settings.seed,
        encoder=encoder,
        decoder=decoder,
    )
    if settings.prior == "vamp":
        first = images.arrays("train", limit=settings.prior_components)["images"]
        model.prior.start_from(np.resize(first, (settings.prior_components, *first.shape[1:])))
    model.compile(
        learning_rate=learning_rate(settings, settings.epochs * len(images.train)),
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def learning_rate(
    settings: Settings, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of a training of so many steps.

    Raises:
        ValueError: for a warm-up that is not over before the training is, or that Keras has not.
    """
    schedules = keras.optimizers.schedules
    highest, rise = settings.learning_rate, settings.warmup_steps
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
