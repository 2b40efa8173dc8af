"""What decides a run's model."""

import dataclasses

# Those that only some models have; the others are for all.
OF_MODELS = {
    "reconstruction": ("vae",),
    "prior": ("vae",),
    "prior_components": ("vae",),
    "kl_schedule": ("vae",),
    "free_bits": ("vae",),
    "capacity": ("vae",),
    "mask_weight": ("vae",),
    "input_noise": ("vae",),
    "kl_weight": ("vae", "vaegan"),
    "fit_prior": ("vae", "vaegan"),
    "gamma": ("vaegan",),
    "adversarial": ("vaegan",),
    "fakes": ("vaegan",),
    "dropout": ("vaegan", "gan"),
    "spectral_normalization": ("vaegan", "gan"),
    "loss": ("gan",),
    "gradient_penalty": ("gan",),
    "r1": ("gan",),
    "critic_steps": ("gan",),
    "discriminator_augmentation": ("gan",),
}


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
    kl_schedule: str | None = None
    free_bits: float = 0.0
    capacity: float | None = None
    mask_weight: float = 1.0
    input_noise: float = 0.0
    fit_prior: int | None = None
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float | None = None
    clip_norm: float | None = None
    epochs: int = 20
    max_minutes: float | None = None
    mixed_precision: str = "off"
    seed: int = 0

    def check(self) -> None:
        """Raises ValueError for a setting that the model does not have."""
        for name, models in OF_MODELS.items():
            default = type(self).__dataclass_fields__[name].default
            if self.model not in models and getattr(self, name) != default:
                raise ValueError(
                    f"--{name.replace('_', '-')} is for {' and '.join(models)}. "
                    f"Received: --model {self.model}."
                )
