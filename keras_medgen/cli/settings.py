"""What decides a run's model."""

import dataclasses


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
    width: int | None = None
    blocks: int | None = None
    latent_dim: int = 64
    latent_grid: str | None = None
    dropout: float = 0.0
    spectral_normalization: bool = False
    conditional: bool = False
    reconstruction: str = "gaussian"
    prior: str = "standard_normal"
    prior_components: int = 32
    kl_weight: float | None = None
    gamma: float | None = None
    adversarial: str = "saturating"
    fakes: str = "both"
    loss: str = "hinge"
    gradient_penalty: float | None = None
    r1: float = 0.0
    critic_steps: int | None = None
    discriminator_augmentation: str = ""
    autoencoder: str | None = None
    noise_schedule: str = "cosine"
    prediction: str = "velocity"
    noise: str = "gaussian"
    min_snr: float = 5.0
    kl_schedule: str | None = None
    free_bits: float = 0.0
    capacity: float | None = None
    mask_weight: float = 1.0
    input_noise: float = 0.0
    fit_prior: int | None = None
    learning_rate: float | None = None
    discriminator_rate: float | None = None
    schedule: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float | None = None
    clip_norm: float | None = None
    epochs: int = 20
    max_minutes: float | None = None
    mixed_precision: str = "off"
    seed: int = 0
