"""`keras-medgen train`."""

from pathlib import Path
from typing import Annotated

import typer

from keras_medgen.cli import options, runs
from keras_medgen.cli.choices import (
    OF_MODELS,
    Adversarial,
    Fakes,
    KLScheduleOption,
    Loss,
    MixedPrecision,
    Model,
    Network,
    Noise,
    NoiseSchedule,
    Prediction,
    Prior,
    Reconstruction,
    Schedule,
)
from keras_medgen.cli.settings import Settings
from keras_medgen.cli.training import resume_training, run_training

DEFAULTS = Settings(data="")
BESIDE_RESUME = {"resume", "data", "data_dir"}  # images may have moved; all else is settled


def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(help=options.SOURCE_HELP)] = None,
    model: Annotated[Model, typer.Option(help="What to train.")] = Model.vae,
    out: Annotated[
        Path | None, typer.Option(help="Run directory. Default: runs/MODEL-DATA.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = DEFAULTS.batch_size,
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    resize: options.ResizeOption = options.Resize.pad,
    window: options.Window = None,
    axis: options.Axis = None,
    deduplicate: options.DeduplicateOption = options.Deduplicate.report,
    balance: Annotated[
        bool, typer.Option("--balance", help="Repeat images of the smaller classes.")
    ] = False,
    augment: Annotated[
        str | None,
        typer.Option(help="Changes to training images: flip_horizontal,rotation=10,gamma=1.2 ..."),
    ] = None,
    data_dir: options.DataDir = None,
    latent_dim: Annotated[int, typer.Option(min=1)] = DEFAULTS.latent_dim,
    latent_grid: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNSxCHANNELS",
            help="vae, vaegan: latents on a grid, in the place of --latent-dim: 7x7x4 for images "
            "of 28 pixels.",
        ),
    ] = None,
    network: Annotated[Network, typer.Option(help="Of which family.")] = Network.convolutional,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="convolutional, dcgan, larsen, diffusion: channels of the finest stage; less is "
            "faster. Default: 32, and 64 for dcgan and larsen.",
        ),
    ] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Condition on the labels of the images.")
    ] = False,
    reconstruction: Annotated[
        Reconstruction, typer.Option(help="What the reconstruction of an image costs.")
    ] = Reconstruction.gaussian,
    prior: Annotated[Prior, typer.Option(help="Of the latents.")] = Prior.standard_normal,
    prior_components: Annotated[
        int, typer.Option(min=1, help="Of the priors mixture and vamp.")
    ] = DEFAULTS.prior_components,
    kl_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="More: better samples. Less: sharper reconstructions. Default: 5, and 1 for "
            "vaegan and the reconstructions mse, mae and bernoulli.",
        ),
    ] = None,
    kl_schedule: Annotated[
        KLScheduleOption | None,
        typer.Option(
            help="Its weight: constant, rising in the first quarter, or in four cycles. Default: "
            "constant; warm-up with the prior vamp."
        ),
    ] = None,
    free_bits: Annotated[
        float, typer.Option(min=0, help="Nats of each latent dimension that cost nothing.")
    ] = DEFAULTS.free_bits,
    capacity: Annotated[
        float | None, typer.Option(min=0, help="Nats that the KL divergence is held at.")
    ] = None,
    mask_weight: Annotated[
        float, typer.Option(min=0, help="How much more a pixel counts where a mask is set.")
    ] = DEFAULTS.mask_weight,
    input_noise: Annotated[
        float, typer.Option(min=0, help="Standard deviation of noise to learn to remove.")
    ] = DEFAULTS.input_noise,
    fit_prior: Annotated[
        int | None,
        typer.Option(
            min=1, help="After training, fit a mixture of so many Gaussians to sample from."
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(min=0, help="vaegan: weight of the likelihood for the decoder. Default: 0.1."),
    ] = None,
    adversarial: Annotated[
        Adversarial, typer.Option(help="vaegan: what its decoder descends.")
    ] = Adversarial.saturating,
    fakes: Annotated[
        Fakes, typer.Option(help="vaegan: what its discriminator sees beside images.")
    ] = Fakes.both,
    loss: Annotated[Loss, typer.Option(help="gan: the adversarial loss.")] = Loss.hinge,
    gradient_penalty: Annotated[
        float | None,
        typer.Option(min=0, help="gan: its weight. Default: 10 for wasserstein, else 0."),
    ] = None,
    r1: Annotated[
        float, typer.Option(min=0, help="gan: weight of the penalty on gradients at images.")
    ] = DEFAULTS.r1,
    critic_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="gan: updates of the discriminator for each of the generator. Default: 5 for "
            "wasserstein, else 1.",
        ),
    ] = None,
    discriminator_augmentation: Annotated[
        str,
        typer.Option(
            help="gan: changes to all that the discriminator sees, for small sets: "
            "brightness,saturation (of colour images),contrast,translation,cutout."
        ),
    ] = DEFAULTS.discriminator_augmentation,
    dropout: Annotated[
        float, typer.Option(min=0, max=0.99, help="vaegan, gan: in the discriminator.")
    ] = DEFAULTS.dropout,
    spectral_normalization: Annotated[
        bool, typer.Option("--spectral-normalization", help="vaegan, gan: of the discriminator.")
    ] = False,
    autoencoder: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="diffusion: the run of a vae with --latent-grid, in whose latents to diffuse.",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1, help="diffusion: residual blocks of each resolution. Default: by the size."
        ),
    ] = None,
    noise_schedule: Annotated[
        NoiseSchedule, typer.Option(help="diffusion: how noise grows with the timestep.")
    ] = NoiseSchedule.cosine,
    prediction: Annotated[
        Prediction, typer.Option(help="diffusion: what its network predicts.")
    ] = Prediction.velocity,
    noise: Annotated[
        Noise, typer.Option(help="diffusion: of which kind; simplex is for anomalies.")
    ] = Noise.gaussian,
    min_snr: Annotated[
        float, typer.Option(min=1e-8, help="diffusion: limit of the weight of little noise.")
    ] = DEFAULTS.min_snr,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-8,
            help="The highest; see --schedule. Default: 1e-3 for vae, 3e-4 for vaegan, 2e-4 for "
            "gan, 5e-4 for diffusion.",
        ),
    ] = None,
    discriminator_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-8,
            help="vaegan, gan: how many times faster than the other networks the discriminator "
            "learns. Default: 0.1 for vaegan, 1 for gan.",
        ),
    ] = None,
    schedule: Annotated[
        Schedule,
        typer.Option(
            help="The learning rate falls to 0 along a cosine, stays constant, or falls "
            "exponentially to a hundredth."
        ),
    ] = Schedule.cosine,
    warmup_steps: Annotated[
        int, typer.Option(min=0, help="Steps in which the learning rate first rises from 0.")
    ] = DEFAULTS.warmup_steps,
    weight_decay: Annotated[
        float | None, typer.Option(min=0, help="Decoupled from the gradient, as in AdamW.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(min=1e-8, help="Largest norm of a network's gradients.")
    ] = None,
    mixed_precision: Annotated[
        MixedPrecision,
        typer.Option(
            help="Half precision where it is safe. auto: bfloat16 if this machine has it and, "
            "measured, is faster for it; results then depend on the machine."
        ),
    ] = MixedPrecision.off,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            help="End the training by the clock, after a whole epoch. One that is resumed "
            "has as long again.",
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished run.")] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with a run that was stopped; needs no other option."
        ),
    ] = None,
):
    """Train a model and leave a run directory: model, curves, samples, metrics and export.

    \b
    Examples:
      keras-medgen train --data retina_patches --epochs 5
      keras-medgen train --data pneumoniamnist.npz --model vae --seed 0 --out runs/pneumonia
      keras-medgen train --data scans.npz --image-size 64 --channels 1 --kl-weight 2
      keras-medgen train --data brain_mri/ --image-size 64 --model vaegan --network larsen
      keras-medgen train --resume runs/pneumonia

    A training that was stopped, or killed, goes on from its last whole epoch with --resume, or
    when the same command is given again, and ends with the same weights as an unbroken one.
    """
    if resume is not None:
        _check_alone(context)
        run = runs.RunDirectory(resume, resume=True)
        resume_training(run, data, data_dir)
    elif data is None:
        raise ValueError("train needs --data, a source of images, or --resume, an interrupted run.")
    else:
        _check_model(context, model.value)
        settings = Settings(
            data=data,
            model=model.value,
            image_size=image_size,
            channels=channels,
            resize=resize.value,
            window=window,
            axis=axis,
            deduplicate=deduplicate.value,
            balance=balance,
            augment=augment,
            batch_size=batch_size,
            latent_dim=latent_dim,
            latent_grid=latent_grid,
            network=network.value,
            width=width,
            blocks=blocks,
            conditional=conditional,
            reconstruction=reconstruction.value,
            prior=prior.value,
            prior_components=prior_components,
            kl_weight=kl_weight,
            gamma=gamma,
            adversarial=adversarial.value,
            fakes=fakes.value,
            loss=loss.value,
            gradient_penalty=gradient_penalty,
            r1=r1,
            critic_steps=critic_steps,
            discriminator_augmentation=discriminator_augmentation,
            dropout=dropout,
            spectral_normalization=spectral_normalization,
            autoencoder=autoencoder,
            noise_schedule=noise_schedule.value,
            prediction=prediction.value,
            noise=noise.value,
            min_snr=min_snr,
            kl_schedule=kl_schedule and kl_schedule.value,
            free_bits=free_bits,
            capacity=capacity,
            mask_weight=mask_weight,
            input_noise=input_noise,
            fit_prior=fit_prior,
            learning_rate=learning_rate,
            discriminator_rate=discriminator_rate,
            schedule=schedule.value,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            epochs=epochs,
            max_minutes=max_minutes,
            mixed_precision=mixed_precision.value,
            seed=seed,
        )
        run = runs.RunDirectory(out or Path("runs") / f"{model.value}-{Path(data).stem}")
        run_training(settings, run, overwrite, data_dir)
    typer.echo(f"\nNext: keras-medgen generate {run} --num 16 --seed 0")


def _given(context: typer.Context) -> dict[str, str]:
    """From the names of the arguments that were given to their options."""
    return {
        name: f"--{name.replace('_', '-')}"
        for name in context.params
        if context.get_parameter_source(name).name == "COMMANDLINE"
    }


def _check_model(context: typer.Context, model: str) -> None:
    given = _given(context)
    if {"latent_dim", "latent_grid"} <= given.keys():
        raise ValueError("--latent-grid stands in the place of --latent-dim: give one of them.")
    for name, option in given.items():
        if model not in OF_MODELS.get(name, model):
            raise ValueError(
                f"{option} is for {', '.join(OF_MODELS[name])}. Received: --model {model}."
            )


def _check_alone(context: typer.Context) -> None:
    given = [option for name, option in _given(context).items() if name not in BESIDE_RESUME]
    if given:
        raise ValueError(
            "--resume goes on with the settings of the run: beside it stand at most --data and "
            f"--data-dir, for images that have moved. Received: {', '.join(given)}."
        )
