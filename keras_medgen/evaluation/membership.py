"""Whether it can be told from a model who was in its training data."""

import numpy as np

from keras_medgen import metrics
from keras_medgen.evaluation.authenticity import pixel_vectors
from keras_medgen.evaluation.images import quiet
from keras_medgen.evaluation.report import Section, Table

RESAMPLES = 500
ENOUGH = 1000  # non-members, for a rate at 1 % false positives
MOST = 2000  # images of each group
FOLDS = 5

READING = [
    "The attack scores each real image by how well the model reconstructs it, or by how near a "
    "generated image comes to it, and an AUC of 0.5 means that members of the training data "
    "cannot be told from others. The blind AUC is that of a classifier that never saw the model: "
    "where it is not 0.5 either, the two groups differ by themselves, and the attack proves "
    "nothing. Whoever attacks a conditional model is taken to know the labels. The strongest "
    "attack is chosen afterwards, so its AUC is a little too high. An attack that fails is no "
    "proof of privacy: others may succeed.",
]


def membership(model, train, non_members, generated, extractor, seed) -> Section:
    """Membership inference: AUC with its interval, and what a blind classifier can do.

    Args:
        model: a `GenerativeModel`, or None for images alone.
        train: dict of `images` and maybe `labels` of the training split, the members.
        non_members: likewise, of images that the model never saw, of the same distribution.
        generated: `Generated`.
        extractor: fitted `FeatureExtractor`, of the blind classifier.
        seed: of the members that are drawn.

    Returns:
        A part of the section "authenticity".
    """
    section = Section("authenticity", reading=list(READING))
    random = np.random.default_rng(seed)
    groups = (train, non_members)
    count = min(MOST, *(len(group["images"]) for group in groups))
    rows = [np.sort(random.permutation(len(group["images"]))[:count]) for group in groups]
    both, labels = (
        np.concatenate([group[name][chosen] for group, chosen in zip(groups, rows, strict=True)])
        if all(name in group for group in groups)
        else None
        for name in ("images", "labels")
    )
    is_member = np.repeat([True, False], count)
    attacks = {"distance to the nearest generated image": _by_distance(both, generated)}
    if hasattr(model, "reconstruct"):
        attacks["error of its reconstruction"] = _by_reconstruction(model, both, labels)
    table = Table(
        f"Membership inference, {count} members and {count} others",
        ["attack", "AUC", "members found at 1 % false alarms"],
        [],
    )
    keys = {"distance to the nearest generated image": "distance"}
    strongest = (0.0, 0.0, 0.0)
    for name, scores in attacks.items():
        key = keys.get(name, "reconstruction")
        auc = _auc(is_member, scores, random)
        section.metrics[f"membership_auc[{key}]"] = auc[0]
        strongest = max(strongest, auc)
        rate = None
        if count >= ENOUGH:
            rate = float(np.mean(scores[:count] > np.quantile(scores[count:], 0.99)))
            section.metrics[f"membership_tpr_at_1_fpr[{key}]"] = rate
        table.rows.append([name, auc, rate])
    blind = _auc(is_member, _blind_scores(both, is_member, extractor, seed), random)
    section.metrics |= {"membership_auc": strongest[0], "blind_auc": blind[0]}
    table.rows.append(["blind to the model", blind, None])
    section.tables.append(table)
    if count < ENOUGH:
        section.warnings.append(
            f"membership inference: {count} non-members are too few for a rate at 1 % false "
            f"alarms, which wants {ENOUGH}."
        )
    section.summary.append(
        f"The strongest attack tells members from others with an AUC of {strongest[0]:.2f} "
        f"({strongest[1]:.2f} to {strongest[2]:.2f}); blind to the model it is {blind[0]:.2f} "
        f"({blind[1]:.2f} to {blind[2]:.2f})."
    )
    return section


def _by_distance(images, generated):
    distances = metrics.nearest(pixel_vectors(images), pixel_vectors(generated.images))[0]
    return -distances


def _by_reconstruction(model, images, labels):
    given = {} if model.num_classes is None else {"labels": labels}
    restored = model.reconstruct(images, **given, **quiet(model))
    return -np.mean(np.square(images - restored), axis=(1, 2, 3))


def _auc(is_member, scores, random):
    """The AUC, and the range of 95 % of its resamples."""
    from scipy.stats import rankdata

    members, others = scores[is_member], scores[~is_member]

    def area(members, others):
        ranks = rankdata(np.concatenate([members, others]))[: len(members)]
        least = len(members) * (len(members) + 1) / 2
        return (ranks.sum() - least) / (len(members) * len(others))

    resampled = [
        area(random.choice(members, len(members)), random.choice(others, len(others)))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(area(members, others)), float(low), float(high)


def _blind_scores(images, is_member, extractor, seed):
    """The cross-validated scores of a logistic regression between the two groups."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    values = extractor(images).values
    values = values / np.maximum(values.std(axis=0), 1e-12)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    classifier = LogisticRegression(max_iter=1000, C=0.1)
    scores = cross_val_predict(classifier, values, is_member, cv=folds, method="predict_proba")
    return scores[:, 1]
