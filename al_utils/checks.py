"""What a configuration needs of what is registered: refused before anything is computed."""

from . import acquisition, datasets, memory, models, noise, sources
from .config import ExperimentConfig
from .networks import recipes
from .training import batch_sizes


def check_names_known(config: ExperimentConfig) -> None:
    """Raise a `ValueError` unless data set, network, strategy, noise and augmentation are known here."""
    datasets.check_name(config.dataset)
    models.get(config.model)
    acquisition.get(config.strategy)
    noise.check_name(config.noise)
    recipes.augmentation(config.augmentation)


def registered_sources(config: ExperimentConfig, dataset: datasets.Dataset) -> dict[str, str]:
    """A hash for each part of the configuration that did not come with the project, see `sources.digest`.

    That of a network is also one of the weights it begins with: it may have loaded them from a file.
    """
    parts = {"model": models.get(config.model).make, "strategy": acquisition.get(config.strategy).function}
    if augment := recipes.augmentation(config.augmentation):
        parts["augmentation"] = augment
    if config.noise in noise.registry:
        parts["noise"] = noise.registry[config.noise]
    if config.dataset in datasets.registry:
        parts["dataset"] = datasets.registry[config.dataset]
    found = {name: sources.digest(part) for name, part in parts.items() if not sources.is_ours(part)}
    if "model" in found:
        weights = models.weights_digest(config.model, dataset.train_images.shape, len(dataset.class_names))
        found["model"] = f"{found['model'][:8]}{weights[:8]}"
    return found


def check_needs(config: ExperimentConfig) -> None:
    """Raise a `ValueError` unless strategy and network get what they were registered to need.

    To be called when the data are known to have all the labels, see `splits.check_fits`.
    """
    c = config
    compares_samples = acquisition.get(c.strategy, c.posterior).samples
    if compares_samples and c.posterior == "as_released":
        raise ValueError(
            f"strategy={c.strategy!r} measures the disagreement of samples, but those of posterior='as_released' are equal: "
            "of such strategies the released code has BALD alone. Use posterior='mc_dropout' and dropout above 0."
        )
    if compares_samples and (c.dropout == 0 or c.mc_samples < 2):
        raise ValueError(
            f"strategy={c.strategy!r} measures the disagreement of MC-dropout samples: dropout={c.dropout} and "
            f"mc_samples={c.mc_samples} leave none. Use dropout above 0 and at least 2 samples."
        )
    needed = models.get(c.model).smallest_batch
    for n in c.n_labels[: c.batch_size]:  # the remainders repeat from there on
        if (smallest := min(batch_sizes(n, c.batch_size, c.last_batch))) < needed:
            raise ValueError(
                f"{c.model} cannot train on a batch of {smallest} (it needs {needed} images, for BatchNorm say), as with {n} "
                f"labels, batch_size={c.batch_size} and last_batch={c.last_batch!r}. {_way_out(c, n, needed)}"
            )


def check_memory(config: ExperimentConfig, images_shape: tuple[int, ...], n_classes: int) -> None:
    """Raise a `ValueError` if a run cannot fit into the memory, see `memory.estimate`."""
    needed = memory.estimate(config, acquisition.get(config.strategy), images_shape, n_classes)
    total, limit = sum(needed.values()), memory.limit(config.device)
    if total > limit:
        what, most = max(needed.items(), key=lambda item: item[1])
        raise ValueError(
            f"this run needs about {_gigabytes(total)} of memory, {_gigabytes(most)} of it because of {what}, but there are "
            f"{_gigabytes(limit)}: lower {what}."
        )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:,.{1 if n < 1e10 else 0}f} GB"


def _way_out(c: ExperimentConfig, n: int, needed: int) -> str:
    if min(batch_sizes(n, c.batch_size, "balance")) >= needed:
        return "Use last_batch='balance'."
    return "Use more initial labels." if n < needed else "Use a larger batch_size."
