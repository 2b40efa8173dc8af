"""What the latents of a trained model show: paths, single dimensions, new samples, maps.

A model is anything with `encode` (images to `mean` and `log_var`, each (n, latent_dim)) and
`decode` (latents to images). Where it is conditional, `labels` are those of the images; other
models do not need them.
"""

import numpy as np

from keras_medgen import pictures

TRAVERSED = 8  # dimensions, where the user names none
NEARLY_PARALLEL = 1e-3  # sine of the angle below which the sphere is as good as flat
ACTIVE_VARIANCE = 0.01  # of the posterior mean over images, in Burda et al.


def interpolate(model, a, b, steps=8, kind="spherical", labels=None):
    """Images on the way from one image to another.

    Args:
        model: see the module.
        a: images at the start: (height, width, channels), or (n, height, width, channels).
        b: images at the end, of the same shape.
        steps: number of images, both ends, which are the reconstructions of `a` and `b`, included.
        kind: "spherical" turns from one latent to the other, its norm changing evenly, for under
            a Gaussian prior a straight line leads through latents of a norm that none has;
            "linear" is that line.
        labels: of a conditional model: those of each pair; int (n,), or (n, num_classes).

    Returns:
        float32 (n, steps, height, width, channels), or (steps, height, width, channels).

    Raises:
        ValueError: for images of two shapes, fewer than 2 steps, or another kind.

    Reference:
        White, Sampling Generative Networks, 2016, https://arxiv.org/abs/1609.04468
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim not in (3, 4):
        raise ValueError(
            "a and b must be images of one shape, (height, width, channels) or "
            f"(n, height, width, channels). Received: a of shape {a.shape}, b of {b.shape}."
        )
    if steps < 2:
        raise ValueError(f"steps must be at least 2, the two ends. Received: steps={steps}.")
    if kind not in _PATHS:
        raise ValueError(f"kind must be one of {', '.join(_PATHS)}. Received: kind={kind!r}.")
    if a.ndim == 3:
        labels = None if labels is None else np.asarray(labels)[None]
        return interpolate(model, a[None], b[None], steps, kind, labels)[0]
    labels = _condition(model, labels)
    ends = [_encode(model, images, labels)["mean"].astype(np.float64) for images in (a, b)]
    weights = np.linspace(0, 1, steps)[:, None]
    return _decode(model, _PATHS[kind](*(end[:, None] for end in ends), weights), labels)


def _linear(a, b, weights):
    return (1 - weights) * a + weights * b


def _spherical(a, b, weights):
    """Between rows of `a` and `b`, both (n, 1, d), at weights (steps, 1): (n, steps, d)."""
    norms = [np.linalg.norm(end, axis=-1, keepdims=True) for end in (a, b)]
    directions = [end / np.maximum(norm, 1e-12) for end, norm in zip((a, b), norms, strict=True)]
    cosine = np.sum(directions[0] * directions[1], axis=-1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    flat = (sine < NEARLY_PARALLEL) | (np.minimum(*norms) == 0)
    parts = [np.sin(part * angle) / np.where(flat, 1, sine) for part in (1 - weights, weights)]
    direction = parts[0] * directions[0] + parts[1] * directions[1]
    return np.where(flat, _linear(a, b, weights), direction * _linear(*norms, weights))


_PATHS = {"spherical": _spherical, "linear": _linear}


def traverse(model, image, dimensions=None, values=(-3, -2, -1, 0, 1, 2, 3), labels=None):
    """One image with single dimensions of its latent set to other values.

    Args:
        model: see the module.
        image: (height, width, channels).
        dimensions: which to change, a list of int. Default: the 8 that say most of this image,
            those of the largest KL divergence (see `statistics`), the largest first.
        values: to set each to, the others staying at the mean of the image's posterior.
        labels: of a conditional model: the image's, an int or (num_classes,).

    Returns:
        float32 (len(dimensions), len(values), height, width, channels).

    Raises:
        ValueError: for more than one image, dimensions that the model lacks, or no values.
    """
    image, values = np.asarray(image), np.asarray(values, np.float32)
    if image.ndim != 3:
        raise ValueError(
            f"image must be one, (height, width, channels). Received: shape {image.shape}."
        )
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values must be a list of numbers. Received: values={values.tolist()}.")
    labels = _condition(model, None if labels is None else np.asarray(labels)[None])
    posterior = _encode(model, image[None], labels)
    size = posterior["mean"].shape[1]
    if dimensions is None:
        dimensions = np.argsort(-_divergence(posterior)[0], kind="stable")[:TRAVERSED]
    dimensions = np.asarray(dimensions)
    if dimensions.ndim != 1 or not np.isin(dimensions, range(size)).all() or not dimensions.size:
        raise ValueError(
            f"dimensions must be a list of int from 0 to {size - 1}. "
            f"Received: dimensions={dimensions.tolist()}."
        )
    latents = np.tile(posterior["mean"], (len(dimensions), len(values), 1))
    for row, dimension in zip(latents, dimensions.astype(int), strict=True):
        row[:, dimension] = values
    labels = None if labels is None else np.repeat(labels, len(dimensions), axis=0)
    return _decode(model, latents, labels)


def save_rows(path, images):
    """Writes what `interpolate` or `traverse` returned as one PNG, a row for each path.

    The file is marked as generated: the PNG text `Synthetic` is "true".

    Args:
        path: of the PNG.
        images: (rows, columns, height, width, channels), or (columns, height, width, channels),
            in [0, 1].
    """
    images = np.asarray(images)
    if images.ndim not in (4, 5):
        raise ValueError(
            "images must be of shape (rows, columns, height, width, channels), or of one row. "
            f"Received: shape {images.shape}."
        )
    columns = images.shape[-4]
    rows = images.reshape(-1, *images.shape[-3:])
    pictures.save_grid(path, rows, columns, synthetic=True)


def smote(model, images, labels, target=None, num=None, k=5, seed=0):
    """New images of minority classes, decoded from between latents of the same class.

    A new latent lies at a random place on the line from the posterior mean of an image of the
    class to that of one of its `k` nearest neighbours in the class. All images of the class take
    their turn as the first.

    Args:
        model: see the module.
        images: (n, height, width, channels), float in [0, 1] or uint8.
        labels: int (n,), one class for each image.
        target: the class to make images of. Default: each that is smaller than the largest.
        num: how many images of each such class. Default: as many as bring it up to the largest.
        k: neighbours to choose from; in a smaller class, all of its other images.
        seed: int. The first images do not depend on `num`, nor those of one class on the others.

    Returns:
        A dict of `images`, float32 (m, height, width, channels), and `labels`, int32 (m,), class
        by class.

    Raises:
        ValueError: for multi-label labels, a class of fewer than 2 images to choose from, or
            arguments out of their range.

    Reference:
        Chawla, Bowyer, Hall and Kegelmeyer, SMOTE: Synthetic Minority Over-sampling Technique,
        JAIR 2002, https://arxiv.org/abs/1106.1813; in images, here in the space of latents.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            "smote takes one class an image, int (n,), not multi-label labels. "
            f"Received: labels of shape {labels.shape}."
        )
    _check_labels(labels, images)
    for name, value, least in (("num", num, 0), ("k", k, 1)):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}. Received: {name}={value}.")
    counts = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    largest = max(counts.values(), default=0)
    classes = [c for c in counts if counts[c] < largest] if target is None else [target]
    missing = {c: largest - counts.get(c, 0) if num is None else num for c in classes}
    for c in classes:
        if counts.get(c, 0) < 2:
            raise ValueError(
                "smote needs at least 2 images of a class. "
                f"Received: {counts.get(c, 0)} of class {c}."
            )
    new_labels = np.repeat(np.array(classes, np.int32), [missing[c] for c in classes])
    means = _encode(model, images, _condition(model, labels))["mean"]
    latents = [_between_neighbours(means[labels == c], missing[c], k, (seed, c)) for c in classes]
    latents = np.concatenate([means[:0], *latents])
    return {
        "images": _decode(model, latents, _condition(model, new_labels)),
        "labels": new_labels,
    }


def _between_neighbours(latents, num, k, seed):
    from sklearn.neighbors import NearestNeighbors  # slow to import

    k = min(k, len(latents) - 1)
    neighbours = NearestNeighbors(n_neighbors=k).fit(latents).kneighbors(return_distance=False)
    rng = np.random.default_rng(seed)
    first = np.resize(rng.permutation(len(latents)), num)
    choice, weights = rng.random((num, 2)).T
    second = neighbours[first, (choice * k).astype(int)]
    return _linear(latents[first], latents[second], weights[:, None].astype(np.float32))


def save_map(path, model, images, labels=None, class_names=None, method="pca"):
    """Writes a map of the latents, a point for each image in the colour of its class, as a PNG.

    Args:
        path: of the PNG.
        model: see the module.
        images: (n, height, width, channels), float in [0, 1] or uint8; at least 2.
        labels: int (n,), for the colours; multi-label ones, (n, num_classes), give none.
        class_names: of the classes from 0, a list of str. Default: their numbers.
        method: "pca", the two directions in which the posterior means vary most.

    Returns:
        np.ndarray (n, 2): the points of the map.

    Raises:
        ValueError: for fewer than 2 images or latent dimensions, another method, labels that do
            not match the images, or too few names.
    """
    from sklearn.decomposition import PCA  # slow to import

    if method != "pca":
        raise ValueError(f"method must be pca. Received: method={method!r}.")
    images = np.asarray(images)
    labels = None if labels is None else np.asarray(labels)
    means = _encode(model, images, _condition(model, labels))["mean"]
    if min(means.shape) < 2:
        raise ValueError(
            "a map needs at least 2 images and 2 latent dimensions. "
            f"Received: means of shape {means.shape}."
        )
    groups, names = None, None
    if labels is not None and (labels.ndim == 1 or labels.shape[1] == 1):
        groups = labels.reshape(-1)
        _check_labels(groups, images)
        names = [str(c) for c in range(groups.max() + 1)] if class_names is None else class_names
        if groups.max() >= len(names):
            raise ValueError(
                f"class_names must name all {groups.max() + 1} classes. "
                f"Received: class_names={list(class_names)}."
            )
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(means.astype(np.float64))
    shares = pca.explained_variance_ratio_
    pictures.save_scatter(
        path,
        points,
        groups,
        names,
        title=f"Latent means: these two axes hold {shares.sum():.0%} of the variance",
        axes=[f"principal component {i} ({share:.0%})" for i, share in enumerate(shares, 1)],
    )
    return points


def statistics(model, images, labels=None):
    """How much of the latents a model uses.

    Args:
        model: see the module.
        images: (n, height, width, channels), float in [0, 1] or uint8; at least 2.
        labels: of a conditional model: int (n,), or (n, num_classes).

    Returns:
        A dict of `active_units`, the number of dimensions whose posterior mean has a variance
        over the images of more than 0.01 (Burda et al.); `kl_per_dimension`, a list of floats,
        the KL divergence of the posterior from the standard normal in nats, in the mean over
        images (Kingma and Welling, appendix B); and `kl`, their sum.

    Raises:
        ValueError: for fewer than 2 images.

    Reference:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016,
        https://arxiv.org/abs/1509.00519
        Kingma and Welling, Auto-Encoding Variational Bayes, 2013,
        https://arxiv.org/abs/1312.6114
    """
    images = np.asarray(images)
    if len(images) < 2:
        raise ValueError(f"statistics need at least 2 images. Received: {len(images)}.")
    posterior = _encode(model, images, _condition(model, labels))
    divergence = _divergence(posterior).mean(axis=0)
    variance = posterior["mean"].astype(np.float64).var(axis=0)
    return {
        "active_units": int(np.sum(variance > ACTIVE_VARIANCE)),
        "kl_per_dimension": divergence.tolist(),
        "kl": float(divergence.sum()),
    }


def _divergence(posterior):
    """KL divergence from the standard normal, (n, latent_dim), in nats."""
    mean, log_var = (posterior[name].astype(np.float64) for name in ("mean", "log_var"))
    return 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)


def _condition(model, labels):
    """The labels, if the model takes any."""
    return None if getattr(model, "num_classes", None) is None else labels


def _encode(model, images, labels):
    for name in ("encode", "decode"):
        if not hasattr(model, name):
            raise ValueError(
                f"model must have encode and decode. Received: {type(model).__name__} without "
                f"{name}."
            )
    return model.encode(images) if labels is None else model.encode(images, labels)


def _decode(model, latents, labels):
    """Images (..., height, width, channels) of latents (..., d); labels are of the first axis."""
    rows = latents.reshape(-1, latents.shape[-1]).astype(np.float32)
    if labels is None:
        images = model.decode(rows)
    else:
        repeats = len(rows) // max(len(latents), 1)
        images = model.decode(rows, np.repeat(np.asarray(labels), repeats, axis=0))
    return images.reshape(*latents.shape[:-1], *images.shape[1:])


def _check_labels(labels, images):
    if len(labels) != len(images):
        raise ValueError(f"there must be {len(images)} labels. Received: {len(labels)}.")
    if not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise ValueError(
            f"labels must be class numbers, int from 0. Received: {np.unique(labels)[:5].tolist()}."
        )
