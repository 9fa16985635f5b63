"""Seconds in which each strategy chooses from a large pool, beside scikit-activeml and baal on the same numbers."""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import acquisition, fitting, querying, scoring
from ..acquisition import information, typical
from ..compute.machine import repeatable
from ..config import ROOT, ExperimentConfig
from ..predicting import CHUNK
from ..problem import prepare
from ..randomness import generator
from ..words import and_list, label
from .speed import spread

SCRIPT = ROOT / "notebooks" / "bench" / "strategies.py"
PACKAGES = {"scikit-activeml": "skactiveml", "baal": "baal"}
# What a program has of its own.
THEIRS = {
    "scikit-activeml": ("max_entropy", "bald", "variation_ratios", "margin", "least_confidence", "batch_bald", "core_set",
                        "badge", "typiclust", "prob_cover"),
    "baal": ("max_entropy", "bald", "margin", "least_confidence", "batch_bald", "power_bald", "epig"),
}  # fmt: skip
ALL_PAIRS = {("scikit-activeml", "prob_cover"): 10_000}  # it holds the distances of all pairs: images, at most
SIGNS = {("baal", "margin"): (0, -1), ("scikit-activeml", "margin"): (-1, 1), ("baal", "least_confidence"): (1, -1)}
GOALS = {"core_set": 2.0, "badge": 2.0, "batch_bald": 20.0}  # seconds for 10 of 59,000 images with K = 20, on two cores
TOLERANCE = 2e-4  # of scores: those of variation ratios carry a thousandth of the entropy, others are in single precision
SAME_TIME = 0.05  # seconds: nobody waits for less


@dataclass(frozen=True)
class Choice:
    """What was chosen, in how many seconds each time; the scores of all images where there are any."""

    seconds: list[float]
    picked: list[int]
    scores_N: np.ndarray | None


def given(dataset: str, n_pool: int, mc_samples: int, n_labels: int = 100, n_query: int = 10, seed: int = 0) -> dict:
    """What strategies look at in one round of LeNet: predictions and embeddings of the pool, labelled embeddings, labels."""
    config = ExperimentConfig(
        dataset=dataset, model="lenet", strategy="badge", protocol="tuned", n_initial=n_labels, n_valid=300, n_query=n_query,
        n_rounds=1, mc_samples=mc_samples, seed=seed, device="cpu",
    )  # fmt: skip
    problem = prepare(config)
    labelled = problem.split.initial
    with repeatable():
        model, _ = fitting.train_model(problem, 0, labelled)
        pool = querying.unlabelled(problem, labelled)[:n_pool]
        names = ("log_probs_K_N_C", "embeddings_N_D", "labelled_embeddings_L_D", "labels_L", "n_classes", "n_query")
        asking = acquisition.Acquisition(acquisition.badge, names, True, True, True, False)
        return querying.asked_for(asking, problem, 0, model, labelled, pool)


def ours(strategy: str, given: Mapping, repeats: int, seed: int = 0) -> Choice:
    """The choice of a strategy of this project, called as a round does, after an untimed call on a few images."""
    few = {"log_probs_K_N_C": given["log_probs_K_N_C"][:, :500], "embeddings_N_D": given["embeddings_N_D"][:500]}
    _chosen(acquisition.get(strategy), {**given, **few}, seed)
    seconds = []
    for _ in range(repeats):
        with repeatable():
            start = time.perf_counter()
            picked, scores_N = _chosen(acquisition.get(strategy), given, seed)
            seconds.append(time.perf_counter() - start)
    return Choice(seconds, picked.tolist(), None if scores_N is None else scores_N.numpy())


def _chosen(strategy: acquisition.Acquisition, given: Mapping, seed: int) -> tuple[Tensor, Tensor | None]:
    """The images picked, and the scores of all, which a strategy that chooses a batch does not give."""
    source, log_probs_K_N_C = generator(seed, "acquisition"), given["log_probs_K_N_C"]
    known = {name: given[name] for name in strategy.asks if name in given}
    known |= {"generator": source} if "generator" in strategy.asks else {}
    if strategy.batch:
        return strategy(**known)[0], None
    if strategy.image_by_image:
        chunks = log_probs_K_N_C.split(CHUNK, dim=1)
        scores_N = scoring.score_in_chunks(strategy, chunks, log_probs_K_N_C.shape[1], source)
    else:
        scores_N = strategy(**known)
    return acquisition.top(scores_N, given["n_query"], generator(seed, "ties")), scores_N


def theirs(
    program: str, strategy: str, given: Mapping, python: str | Path = sys.executable, repeats: int = 1, seed: int = 0
) -> Choice:
    """The `Choice` of another program's strategy by `notebooks/bench/strategies.py`, in a process of its own.

    BatchBALD looks at our candidates, EPIG at our target inputs; TypiClust's k-means begins with our seed, and ProbCover is
    told our radius. A call on a few images comes first, untimed.

    Raises:
        RuntimeError: it failed; the message is the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder) / "work.npz", Path(folder) / "out.npz"
        arrays: dict = {name: value.numpy() for name, value in given.items() if isinstance(value, Tensor)}
        arrays |= dict(n_query=given["n_query"]) | _drawn_as_we_do(strategy, given, seed)
        np.savez(work, **arrays)
        command = [str(python), str(SCRIPT), program, strategy, str(work), str(out), str(repeats)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{program}'s {label(strategy)} failed: {done.stderr.strip()[-500:]}")
        with np.load(out) as found:
            scores = found["scores"]
            return Choice(found["seconds"].tolist(), found["picked"].tolist(), scores if len(scores) else None)


def _drawn_as_we_do(strategy: str, given: Mapping, seed: int) -> dict:
    """What our strategy draws first, so that the others start from the same."""
    log_probs_K_N_C, source = given["log_probs_K_N_C"], generator(seed, "acquisition")
    drawn: dict = dict(n_outcomes=information.OUTCOMES, most_exact=typical.MOST_EXACT)
    if strategy == "batch_bald":
        candidates = acquisition.top(acquisition.bald(log_probs_K_N_C), information.CANDIDATES, source)
        drawn["candidates_T"] = candidates.numpy()
    elif strategy == "epig":
        drawn["targets_S"] = torch.randperm(log_probs_K_N_C.shape[1], generator=source)[:100].numpy()
    elif strategy == "typiclust":
        drawn["seed"] = int(torch.randint(2**31, (1,), generator=source))
    elif strategy == "prob_cover":
        drawn["radius"] = typical.pure_radius(F.normalize(given["embeddings_N_D"]), given["n_classes"], 0.95, source)
    return drawn


def available(python: str | Path) -> list[str]:
    """The programs that are installed beside a Python."""
    if not Path(python).exists():
        return []
    return [
        program
        for program, package in PACKAGES.items()
        if not subprocess.run([str(python), "-c", f"import {package}"], capture_output=True).returncode
    ]


def compared(strategy: str, given: Mapping, programs: Iterable[str], python: str | Path, repeats: int) -> dict[str, Choice]:
    """Our choice and those of the programs that have the strategy and the memory; of their BatchBALD, minutes long, once."""
    found = {"ours": ours(strategy, given, repeats)}
    for program in programs:
        if fits(program, strategy, len(given["embeddings_N_D"])):
            found[program] = theirs(program, strategy, given, python, 1 if strategy == "batch_bald" else repeats)
    return found


def agreement(strategy: str, program: str, own: Choice, other: Choice) -> str:
    """How far two programs agree: by the scores of all images, or else by the images picked."""
    if own.scores_N is not None and other.scores_N is not None:
        start, factor = SIGNS.get((program, strategy), (0, 1))
        apart = float(np.abs(own.scores_N - (start + factor * other.scores_N)).max())
        return f"{'the same scores' if apart < TOLERANCE else 'OTHER SCORES'} (apart by {apart:.0e} at most)"
    if strategy == "power_bald":
        return "each draws"
    if strategy == "badge":
        return f"{'the same' if own.picked[0] == other.picked[0] else 'ANOTHER'} first image, the others are drawn"
    same = len(set(own.picked) & set(other.picked))
    if own.picked == other.picked:
        return f"the same {len(own.picked)} images"
    in_order = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(own.picked, other.picked)))
    return f"{same} of {len(own.picked)} images the same, the first {in_order} in order"


def table(chosen: Mapping[str, Mapping[str, Choice]]) -> pd.DataFrame:
    """One row per strategy: seconds of each program, how many times ours, and how far it agrees."""
    rows = {}
    for strategy, by_program in chosen.items():
        own = by_program["ours"]
        row = {"this project": spread(own.seconds)}
        for program in THEIRS:
            other = by_program.get(program)
            ratio = median(other.seconds) / median(own.seconds) if other else 0
            text = f"{spread(other.seconds)}\n{ratio:.1f} times ours" if other else _why_not(program, strategy)
            row[program] = f"{text}\n{agreement(strategy, program, own, other)}" if other else text
        rows[label(strategy)] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _why_not(program: str, strategy: str) -> str:
    if strategy not in THEIRS[program]:
        return "has none"
    return "holds all pairs of images, here too many" if (program, strategy) in ALL_PAIRS else "not run"


def fits(program: str, strategy: str, n_pool: int) -> bool:
    """Whether a program has the strategy, and the memory for so many images."""
    return strategy in THEIRS[program] and n_pool <= ALL_PAIRS.get((program, strategy), n_pool)


def verdicts(chosen: Mapping[str, Mapping[str, Choice]]) -> list[tuple[str, str, bool]]:
    """Each goal, what was measured, and whether it is reached: seconds, and never slower than another program."""
    found = []
    for strategy, most in GOALS.items():
        took = median(chosen[strategy]["ours"].seconds)
        found.append((f"{label(strategy)}: at most {most:g} s", f"{took:.2f} s", took <= most))
    slower = [
        f"{label(strategy)} than {program}'s"
        for strategy, by_program in chosen.items()
        for program in by_program
        if median(by_program[program].seconds) < median(by_program["ours"].seconds) - SAME_TIME
    ]
    goal = f"none slower than another program's by more than {SAME_TIME:g} s"
    return [*found, (goal, f"slower: {and_list(slower)}" if slower else "none is", not slower)]
