"""What the networks of a recorded run know: confusion, calibration, a map of the pool, doubtful labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from ..compute.machine import repeatable
from ..fitting import train_model
from ..networks.classifier import Classifier
from ..predicting import BINS, embeddings, predict_log_probs
from ..problem import after
from ..randomness import generator
from .replay import RecordedRun

MAPPED = 4_000  # images of the pool on a map, at most


@dataclass(frozen=True)
class Diagnosis:
    """What a round's network, without dropout, says of the test images, and where it has the pool's images."""

    round: int
    log_probs_N_C: Tensor  # of the test images, noisy as configured
    true_N: Tensor
    images_M: Tensor  # numbers of the training images that are on the map
    map_M_2: Tensor  # their first two principal components
    share_2: list[float]  # of the variance that these show

    @property
    def accuracy(self) -> float:
        return float((self.log_probs_N_C.argmax(1) == self.true_N).double().mean())


def some_rounds(run: RecordedRun, n: int) -> list[int]:
    """At most `n` of a run's rounds, from the first to the last in equal steps."""
    last = run.rounds[-1].round
    return sorted({round(k * last / max(1, n - 1)) for k in range(n)})


def trained_again(run: RecordedRun, number: int) -> Classifier:
    """The network of a round, trained again on the labels that the ledger had by then. Raises: see `check_trainable`."""
    run.check_trainable()
    now, labelled = after(run.problem, run.rounds[:number])
    with repeatable():
        return train_model(now, number, labelled)[0]


def diagnose(run: RecordedRun, number: int) -> Diagnosis:
    """Train the network of round `number` again and look at it; what was queried up to then is on its map in any case."""
    problem, model = run.problem, trained_again(run, number)
    test = problem.test.redrawn(generator(problem.config.seed, "noise in evaluation", number, problem.test.pixels.device))
    queried = torch.tensor([i for r in run.rounds[: number + 1] for i in r.queried], dtype=torch.long)
    others = problem.split.pool[~torch.isin(problem.split.pool, queried)]
    drawn = torch.randperm(len(others), generator=generator(problem.config.seed, "map"))[: max(0, MAPPED - len(queried))]
    images_M = torch.cat([others[drawn].sort().values, queried])
    with repeatable():
        log_probs_N_C = predict_log_probs(model, test)[0].cpu()
        embeddings_M_D = embeddings(model, problem.train, images_M.to(problem.config.device)).cpu()
    map_M_2, share_2 = principal_components(embeddings_M_D)
    return Diagnosis(number, log_probs_N_C, problem.test_labels.cpu(), images_M, map_M_2, share_2)


def principal_components(embeddings_N_D: Tensor) -> tuple[Tensor, list[float]]:
    """Coordinates `[N, 2]` along the two directions of largest variance, and the shares of the variance along them (PCA).

    The sign of a direction is arbitrary; here its largest weight is positive, so that the same data give the same map.
    """
    centred = (embeddings_N_D - embeddings_N_D.mean(0)).double()
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    first = directions[:2] * directions[:2].gather(1, directions[:2].abs().argmax(1, keepdim=True)).sign()
    share = singular[:2] ** 2 / (singular**2).sum().clamp(min=1e-30)
    return centred @ first.T, share.tolist()


def confusion(log_probs_N_C: Tensor, true_N: Tensor) -> Tensor:
    """How many images of class i are taken for class j, `[C, C]`."""
    C = log_probs_N_C.shape[1]
    return torch.bincount(true_N * C + log_probs_N_C.argmax(1), minlength=C * C).view(C, C)


def reliability(log_probs_N_C: Tensor, true_N: Tensor) -> pd.DataFrame:
    """Mean confidence and accuracy of the predictions in each of 15 equal bins of confidence, and how many there are.

    The mean gap, weighted by `n`, is the expected calibration error of the ledgers.
    """
    log_confidence_N, predicted_N = log_probs_N_C.max(1)
    confidence_N, right_N = log_confidence_N.exp().double(), (predicted_N == true_N).double()
    bin_N = (confidence_N * BINS).long().clamp(0, BINS - 1)
    table = pd.DataFrame({"bin": bin_N.numpy(), "confidence": confidence_N.numpy(), "accuracy": right_N.numpy()})
    grouped = table.groupby("bin")
    return grouped.mean().assign(n=grouped.size())


def history(runs: Sequence[RecordedRun], image: int) -> pd.DataFrame:
    """What became of one training image: a row for each run that queried it, with round, rank, score and given label."""
    rows = []
    for run in runs:
        for r in run.rounds:
            if image in r.queried:
                rank = r.queried.index(image)
                given = r.true_classes[rank] if r.labels is None else r.labels[rank]
                named = "none" if given is None else run.class_names[given] if given >= 0 else "unknown"
                rows.append((run.config["strategy"], r.round, rank + 1, r.scores[rank], named))
    return pd.DataFrame(rows, columns=["strategy", "round", "rank", "score", "label"])


def over_rounds(run: RecordedRun, image: int, numbers: Sequence[int]) -> pd.DataFrame:
    """What the networks of some rounds take one training image for: probability of its class, the likeliest class, entropy.

    Each network is trained again, and predicts without dropout.
    """
    rows = []
    for number in numbers:
        model = trained_again(run, number)
        log_probs_C = predict_log_probs(model, run.problem.train[torch.tensor([image])])[0, 0].cpu().double()
        true, best = int(run.problem.dataset.train_labels[image]), int(log_probs_C.argmax())
        of_true = float(log_probs_C[true].exp()) if true >= 0 else float("nan")
        entropy = -float(torch.special.xlogy(log_probs_C.exp(), log_probs_C.exp()).sum())
        rows.append((number, of_true, run.class_names[best], float(log_probs_C[best].exp()), entropy))
    return pd.DataFrame(rows, columns=["round", "of its class", "says", "confidence", "entropy"])


@dataclass(frozen=True)
class Doubt:
    """A label, the class that is likelier `instead`, and how probable the label is to networks that have not seen it."""

    image: int
    label: int
    instead: int
    of_label: float
    likely_wrong: bool
    true: int = -1  # -1: unknown


def doubtful_labels(run: RecordedRun, number: int, folds: int = 4) -> list[Doubt]:
    """The labels up to round `number`, the ones first that networks which have not seen them doubt most.

    The labelled images are predicted by cross-validation. Confident learning (Northcutt et al. 2021): a label is likely
    wrong where another class is at least as probable as it is, on average, for the images that carry it.

    Raises:
        ValueError: too few labels for so many folds; see `RecordedRun.check_trainable`.
    """
    run.check_trainable()
    now, labelled_L = after(run.problem, run.rounds[:number])
    if len(labelled_L) < 2 * folds:
        raise ValueError(f"round {number} has {len(labelled_L)} labels, but {2 * folds} are needed for {folds} folds.")
    if now.config.warm_start:  # the weights of the round before have seen what is to be judged
        now = replace(now, config=replace(now.config, warm_start=False))
    order_L = torch.randperm(len(labelled_L), generator=generator(now.config.seed, "folds", number))
    probs_L_C = torch.empty(len(labelled_L), len(run.class_names), dtype=torch.float64)
    with repeatable():
        for held_out in order_L.tensor_split(folds):
            rest = torch.ones(len(labelled_L), dtype=torch.bool)
            rest[held_out] = False
            model, _ = train_model(now, number, labelled_L[rest])
            probs_L_C[held_out] = predict_log_probs(model, now.train.take(labelled_L[held_out]))[0].cpu().double().exp()
    true_N = run.problem.dataset.train_labels
    found = doubts(probs_L_C, now.train_labels.cpu()[labelled_L], labelled_L.tolist())
    return [replace(doubt, true=int(true_N[doubt.image])) for doubt in found]


def doubts(probs_L_C: Tensor, labels_L: Tensor, images_L: Sequence[int]) -> list[Doubt]:
    """`doubtful_labels` from predictions out of sample, the least probable label first."""
    of_label_L = probs_L_C.gather(1, labels_L[:, None])[:, 0]
    usual_C = torch.full((probs_L_C.shape[1],), float("inf"), dtype=probs_L_C.dtype)  # no image has the label: no standard
    for c in labels_L.unique().tolist():
        usual_C[c] = of_label_L[labels_L == c].mean()
    candidates_L_C = probs_L_C.where(probs_L_C >= usual_C, -1.0)
    confident_L = candidates_L_C.amax(1) >= 0
    instead_L = candidates_L_C.argmax(1).where(confident_L, probs_L_C.argmax(1))
    wrong_L = confident_L & (instead_L != labels_L)
    columns = (labels_L.tolist(), instead_L.tolist(), of_label_L.tolist(), wrong_L.tolist())
    return sorted((Doubt(image, *row) for image, *row in zip(images_L, *columns)), key=lambda doubt: doubt.of_label)
