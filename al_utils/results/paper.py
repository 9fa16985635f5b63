"""What the paper prints, and where it contradicts itself.

Source: Luca Pantea, "Human-in-the-Loop ML Project", Table 2 and the table captioned "Figure 3". The paper's text calls
the numbers of Table 2 errors ("over 91% error"), but they are accuracies, as the table's own caption says: 91.47% of
errors on MNIST would be worse than guessing, and the same run has 6-9% errors in the table captioned "Figure 3".
"""

from ..words import is_cifar10_folder

DATASETS = ("mnist", "cifar10", "fashion_mnist")
MODELS = ("lenet", "resnet18")
STRATEGIES = ("random", "max_entropy", "bald")
NOISES = ("none", "gaussian", "salt_and_pepper")

# Test accuracy in %, constrained scenario (1,100 labels), mean of 3 seeds.
# noise          model     mnist: random, max_entropy, bald   cifar10: the same     fashion_mnist: the same
_TABLE_2 = """
none             lenet     28.79 19.06 20.77                  13.92 13.10 15.02     22.99 19.01 16.22
none             resnet18  91.47 91.32 93.16                  33.04 30.42 32.23     77.99 75.57 76.19
gaussian         lenet     31.62 19.38 42.79                  15.76 15.68 17.44     25.98 14.63 17.11
gaussian         resnet18  93.44 94.45 95.00                  35.21 34.16 34.04     78.47 74.72 77.73
salt_and_pepper  lenet     18.03 30.70 35.74                  14.86 17.41 19.04     20.74 11.35 22.20
salt_and_pepper  resnet18  92.72 93.17 94.61                  34.38 33.31 38.52     78.69 76.79 78.55
"""

# Test error in %, MNIST without noise. Supervised learning has no strategy.
_FIGURE_3 = {
    ("supervised", "lenet"): (65.49,),
    ("supervised", "resnet18"): (7.69,),
    ("ideal", "lenet"): (4.44, 2.39, 3.37),  # random, max_entropy, bald
    ("ideal", "resnet18"): (2.6, 1.47, 2.36),
    ("constrained", "lenet"): (71.21, 80.94, 79.23),
    ("constrained", "resnet18"): (6.84, 8.63, 6.83),
}


SCENARIO_LABELS = {"supervised": 1_100, "ideal": 11_000, "constrained": 1_100}  # labels at the end


def published_dataset(dataset: str) -> str | None:
    """The paper's data set that `dataset` is compared with; None where the paper has nothing like it."""
    if dataset in DATASETS:
        return dataset
    return "mnist" if dataset == "mnist5k" else "cifar10" if is_cifar10_folder(dataset) else None


def _parse(table: str) -> dict[tuple[str, str, str, str], float]:
    rows = [line.split() for line in table.strip().splitlines()]
    columns = [(dataset, strategy) for dataset in DATASETS for strategy in STRATEGIES]
    return {
        (dataset, model, strategy, noise): float(value)
        for noise, model, *values in rows
        for (dataset, strategy), value in zip(columns, values, strict=True)
    }


ACCURACY = _parse(_TABLE_2)  # by data set, network, strategy and noise


def table_2(dataset: str, model: str, strategy: str, noise: str) -> float | None:
    """The published test accuracy in %, or None where the paper has none."""
    theirs = published_dataset(dataset)
    return ACCURACY.get((theirs, model, strategy, noise)) if theirs else None


def figure_3(scenario: str, model: str, strategy: str = "") -> float | None:
    """The published test error in % on MNIST, or None; `supervised` needs no strategy."""
    values = _FIGURE_3.get((scenario, model), ())
    if scenario == "supervised":
        return values[0] if values else None
    return dict(zip(STRATEGIES, values)).get(strategy)


def contradictions(most: float = 0.1) -> list[tuple[str, str, float, float]]:
    """Runs of which the paper prints two accuracies more than `most` points apart: network, strategy, Table 2, "Figure 3"."""
    found = []
    for model in MODELS:
        for strategy in STRATEGIES:
            accuracy, error = table_2("mnist", model, strategy, "none"), figure_3("constrained", model, strategy)
            if accuracy is not None and error is not None and abs(accuracy - (100 - error)) > most:
                found.append((model, strategy, accuracy, round(100 - error, 2)))
    return found
