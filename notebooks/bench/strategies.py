"""Batches chosen by scikit-activeml and by baal, from numbers that are given: what `07_speed` times our strategies beside.

    python strategies.py scikit-activeml|baal STRATEGY WORK.npz OUT.npz REPEATS

writes the seconds of each repeat, the images that were picked, and where it has them the scores of all. It stands alone,
because both have an environment of their own (`requirements-bench.txt`). WORK.npz is written by
`al_utils.chapters.strategy_speed`. Bringing its arrays into the layout that a program wants is not timed; what the program does
with them is, with its default threads.
"""

import sys
import time

import numpy as np


class Given:
    """The arrays of WORK.npz by name, in the layouts that are asked for; of the first images alone to warm up."""

    def __init__(self, file, first=None):
        with np.load(file) as arrays:
            self.file = dict(arrays)
        self.n_query = int(self.file["n_query"])
        self.n_outcomes = int(self.file["n_outcomes"])
        if first:
            self.file["log_probs_K_N_C"] = self.file["log_probs_K_N_C"][:, :first]
            self.file["embeddings_N_D"] = self.file["embeddings_N_D"][:first]
            self.file |= {"candidates_T": np.arange(first // 10), "targets_S": np.arange(first // 10)}
            self.n_outcomes //= 10

    def probs_K_N_C(self):
        return np.exp(self.file["log_probs_K_N_C"].astype(np.float64))

    def probs_N_C(self):
        return self.probs_K_N_C().mean(0)

    def probs_N_C_K(self):
        return np.ascontiguousarray(np.exp(self.file["log_probs_K_N_C"]).transpose(1, 2, 0))

    def labelled_first(self):
        """Embeddings of the labelled images and the pool, and labels, unknown (NaN) in the pool."""
        labelled, pool = self.file["labelled_embeddings_L_D"], self.file["embeddings_N_D"]
        labels = np.concatenate([self.file["labels_L"].astype(float), np.full(len(pool), np.nan)])
        return np.concatenate([labelled, pool]), labels


def best(scores_N, n):
    return np.argsort(-scores_N, kind="stable")[:n]


def uncertainty(method):
    def prepare(given):
        from skactiveml.pool import uncertainty_scores

        probs_K_N_C = given.probs_K_N_C()
        return lambda: by_scores(uncertainty_scores(probs_K_N_C.mean(0), method=method), given.n_query)

    return prepare


def by_scores(scores_N, n_query):
    return best(scores_N, n_query), scores_N


def votes(given):
    from skactiveml.pool import variation_ratios

    votes_N_K = given.probs_K_N_C().argmax(-1).T
    return lambda: by_scores(variation_ratios(votes_N_K), given.n_query)


def greedy_bald(given):
    from skactiveml.pool import batch_bald

    probs_K_N_C = given.probs_K_N_C()
    return lambda: by_scores(batch_bald(probs_K_N_C.copy(), batch_size=1)[0], given.n_query)  # it clips in place


def batch_bald_of_candidates(given):
    from skactiveml.pool import batch_bald

    candidates = given.file["candidates_T"]
    probs_K_T_C = np.ascontiguousarray(given.probs_K_N_C()[:, candidates])

    def run():
        utilities = batch_bald(probs_K_T_C.copy(), batch_size=given.n_query, n_MC_samples=given.n_outcomes, random_state=0)
        return candidates[np.nanargmax(utilities, axis=1)], None

    return run


def on_embeddings(make, scaled=False):
    """A strategy of scikit-activeml that looks at embeddings alone; `scaled` to length 1."""

    def prepare(given):
        X, y = given.labelled_first()
        X = X / np.linalg.norm(X, axis=1, keepdims=True).clip(1e-12) if scaled else X
        return lambda: (np.asarray(make(given).query(X, y, batch_size=given.n_query)) - len(given.file["labels_L"]), None)

    return prepare


def core_set(given):
    from skactiveml.pool import CoreSet

    return CoreSet(random_state=0)


def typiclust(given):
    """With the k-means that we take for so many clusters; its own default takes all images in each step."""
    from skactiveml.pool import TypiClust
    from sklearn.cluster import KMeans, MiniBatchKMeans

    many = len(given.file["labels_L"]) + given.n_query > int(given.file["most_exact"])
    method, options = (MiniBatchKMeans, dict(batch_size=5_000)) if many else (KMeans, {})
    return TypiClust(cluster_algo=method, cluster_algo_dict=options | dict(random_state=int(given.file["seed"])), k=20)


def prob_cover(given):
    """With our radius, so that both cover the same."""
    from skactiveml.pool import ProbCover

    return ProbCover(deltas=[float(given.file["radius"])], random_state=0)


def badge(given):
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge

    X, y = given.labelled_first()
    probs_N_C, pool_N_D = given.probs_N_C(), given.file["embeddings_N_D"].astype(np.float64)

    class Known(SkactivemlClassifier):
        """A network whose predictions and embeddings are there already."""

        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            return probs_N_C, pool_N_D

    known = Known(classes=list(range(probs_N_C.shape[1])))

    def run():
        picked = Badge(random_state=0).query(X, y, known, fit_clf=False, batch_size=given.n_query)
        return np.asarray(picked) - len(given.file["labels_L"]), None

    return run


def heuristic(name):
    """A heuristic of baal, as its active learning loop calls it."""

    def prepare(given):
        from baal.active import heuristics

        probs_N_C_K = given.probs_N_C_K()

        def run():
            order_N, scores_N = getattr(heuristics, name)().get_ranks(probs_N_C_K)
            return order_N[: given.n_query], scores_N

        return run

    return prepare


def baal_epig(given):
    from baal.active.heuristics import EPIG

    probs_N_C_K, targets = given.probs_N_C_K(), given.file["targets_S"]
    return lambda: by_scores(EPIG().get_uncertainties(probs_N_C_K, probs_N_C_K[targets]), given.n_query)


def baal_power_bald(given):
    from baal.active.heuristics.aliases import PowerBALD

    probs_N_C_K = given.probs_N_C_K()
    return lambda: (PowerBALD(query_size=given.n_query).get_ranks(probs_N_C_K)[0], None)


def baal_batch_bald(given):
    """It adds as many images as it is told to the one with the highest BALD, and ranks the last chosen first."""
    from baal.active.heuristics import BatchBALD

    candidates = given.file["candidates_T"]
    probs_T_C_K = given.probs_N_C_K()[candidates]
    draws = given.n_outcomes // probs_T_C_K.shape[-1]  # for each sample

    def run():
        order_T, _ = BatchBALD(given.n_query - 1, num_draw=draws).get_ranks(probs_T_C_K)
        return candidates[order_T[: given.n_query][::-1]], None

    return run


PROGRAMS = {
    "scikit-activeml": {
        "max_entropy": uncertainty("entropy"), "margin": uncertainty("margin_sampling"),
        "least_confidence": uncertainty("least_confident"), "variation_ratios": votes, "bald": greedy_bald,
        "batch_bald": batch_bald_of_candidates, "core_set": on_embeddings(core_set), "badge": badge,
        "typiclust": on_embeddings(typiclust, scaled=True), "prob_cover": on_embeddings(prob_cover, scaled=True),
    },
    "baal": {
        "max_entropy": heuristic("Entropy"), "margin": heuristic("Margin"), "least_confidence": heuristic("Certainty"),
        "bald": heuristic("BALD"), "power_bald": baal_power_bald, "batch_bald": baal_batch_bald, "epig": baal_epig,
    },
}  # fmt: skip


if __name__ == "__main__":
    program, strategy, work, out, repeats = sys.argv[1:]
    choose = PROGRAMS[program][strategy]
    choose(Given(work, first=500))()  # to warm up
    run, seconds = choose(Given(work)), []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        picked, scores = run()
        seconds.append(time.perf_counter() - start)
    np.savez(out, seconds=seconds, picked=picked, scores=[] if scores is None else scores)
