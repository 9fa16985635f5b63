"""The experiment: per round fit, evaluate, predict, acquire, and a line in the ledger."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from . import acquisition, checks, models, saved
from .compute.machine import Stopwatch, environment, repeatable
from .config import ExperimentConfig
from .fitting import measure, train_model
from .ledger import Ledger, LedgerError, Round, check_header
from .networks.classifier import Classifier
from .oracle import Oracle, checked_answers, described
from .problem import Problem, after, prepare
from .querying import query
from .records import is_over, without_gain
from .training import Diverged, batch_sizes


def run_experiment(config: ExperimentConfig, ledger: str | Path | None = None, oracle: Oracle | None = None) -> Iterator[Round]:
    """Yield the rounds of a run, one at a time, as they end; with a `ledger`, those it holds first, unchanged.

    A killed run that is started again goes on after its last whole round, with the result of an undisturbed one. So does
    a finished one that is asked for more rounds. Each of the `n_rounds` rounds trains from scratch, evaluates and queries;
    a last one trains and evaluates on all labels. With `stop_after` an earlier one may be the last: it queries nothing.
    With `save_model` the network of the last round is kept beside the ledger (`saved.model_path`); where a finished run
    lacks it, that round is trained again.

    Args:
        ledger: path of the run's ledger, from the project's root if it is relative; None keeps none.
        oracle: who labels the queries; None takes the true classes.

    Raises:
        ValueError: see `prepare`; images without a label and no oracle; an answer that is no class; `save_model` without a
            ledger, or where another file is in the network's place.
        LedgerError: see `Ledger` and `check_rounds`. training.Diverged: the loss is not finite.
    """
    problem = prepare(config)
    if oracle is not None:
        described(oracle)
    if oracle is None and (unknown := int((problem.dataset.train_labels < 0).sum())):
        raise ValueError(
            f"{unknown:,} images of {problem.dataset.label} have no label, so an oracle must answer: "
            "label them in notebooks/04_be_the_oracle.ipynb, or give run_experiment an oracle."
        )
    if config.save_model and not ledger:
        raise ValueError(
            "save_model=True keeps the network beside the ledger, but there is none: give one, or save_model=False."
        )
    with contextlib.ExitStack() as stack:
        book = stack.enter_context(Ledger(ledger, header(problem, oracle))) if ledger else None
        if book:
            check_rounds(problem, book.rounds, book.path)
        done = list(book.rounds) if book else []
        yield from done
        if book and book.stopped:
            raise Diverged(book.stopped)
        place = saved.model_path(book.path) if book and config.save_model else None
        # Also before the first round: a file that is something else is refused then, not at the end.
        if place and not saved.is_kept(config, len(done) - 1, place) and is_over(done, config.n_rounds):
            _train_again(problem, done, place)
        while not is_over(done, config.n_rounds):
            number = len(done)
            now, labelled = after(problem, done)
            try:
                with repeatable():
                    round, model = _trained_round(now, number, labelled)
            except Diverged as reason:
                if book:
                    book.stop(f"round {number}: {reason}")
                raise
            if oracle is not None and round.queried:
                answers = oracle.answer(round, config.seed)
                round = replace(round, labels=checked_answers(answers, round, len(problem.dataset.class_names)))
            if place and is_over([*done, round], config.n_rounds):  # before the ledger says that the run is finished
                saved.keep(model, now, number, len(labelled), place)
            if book:
                book.append(round)
            done.append(round)
            yield round


def _train_again(problem: Problem, rounds: list[Round], place: Path) -> None:
    """Keep the network of the last of these rounds, which is all that a finished run lacks."""
    last = rounds[-1]
    now, labelled = after(problem, rounds[:-1])
    with repeatable():
        model, train_loss = train_model(now, last.round, labelled)
    if train_loss != last.metrics["train_loss"]:
        warnings.warn(
            f"{place.name} is trained again and not quite the network of its ledger (training loss {train_loss:.6g} instead of "
            f"{last.metrics['train_loss']:.6g}): another processor, device or version rounds differently."
        )
    saved.keep(model, now, last.round, len(labelled), place)


def run_round(problem: Problem, number: int, labelled: Tensor) -> Round:
    """One round from the labels so far (indices into the training images): a pure function of its arguments."""
    return _trained_round(problem, number, labelled)[0]


def _trained_round(problem: Problem, number: int, labelled: Tensor) -> tuple[Round, Classifier]:
    """A round and its network."""
    watch = Stopwatch(problem.config.device)
    with watch("fit"):
        model, train_loss = train_model(problem, number, labelled)
    with watch("evaluate"):
        metrics = {"train_loss": train_loss} | measure(problem, number, model)
    if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise Diverged(f"{wrong[0]} is {metrics[wrong[0]]}: lower lr={problem.config.lr}")
    queried: list[int] = []
    scores: list[float] = []
    notes = [_note_on_batches(problem.config, len(labelled))]
    ended = without_gain(problem.config.stop_after, [*(r.metrics for r in problem.before), metrics])
    if number < problem.config.n_rounds and not ended:
        queried, scores = query(problem, number, model, labelled, watch)
        notes.append(acquisition.get(problem.config.strategy, problem.config.posterior).note)
    round = Round(
        round=number,
        n_labels=len(labelled),
        metrics=metrics,
        queried=queried,
        scores=scores,
        true_classes=problem.dataset.train_labels[queried].tolist(),
        noisy=problem.train.noisy_N[queried].tolist(),
        seconds={part: float(f"{spent:.4f}") for part, spent in watch.seconds.items()},
        note="; ".join(filter(None, notes)),
        ended=ended if number < problem.config.n_rounds else "",
    )
    return round, model


def _note_on_batches(c: ExperimentConfig, n: int) -> str:
    """Where skipped images leave a batch that the network cannot train on, `fit` cuts the epoch otherwise."""
    wanted = batch_sizes(n, c.batch_size, c.last_batch)
    sizes = batch_sizes(n, c.batch_size, c.last_batch, models.get(c.model).smallest_batch)
    if sizes == wanted:
        return ""
    return f"{n} labels would leave a batch of {min(wanted)}: cut into {len(sizes)} of {min(sizes)} to {max(sizes)} instead"


def header(problem: Problem, oracle: Oracle | None = None) -> dict:
    """A ledger's first line: what fixes the result (configuration, data, initial labels) and where it was computed."""
    labelled_by = {"oracle": described(oracle)} if oracle is not None else {}
    return {
        "config": problem.config.to_dict(),
        **_drawn_from(problem),
        "environment": environment(problem.config.device),
        "registered": checks.registered_sources(problem.config, problem.dataset),
        **labelled_by,
    }


def _drawn_from(problem: Problem) -> dict:
    """The data and the first labels, as a header has them."""
    d = problem.dataset
    data = {"name": d.name, "label": d.label, "checksum": d.checksum, "classes": d.class_names}
    return {"data": data, "initial": problem.split.initial.tolist()}


def check_data(path: Path, found: dict, problem: Problem) -> None:
    """Raise a `LedgerError` unless the data are those of a ledger with the header `found`, and the first labels too."""
    check_header(path, found, found | _drawn_from(problem))


def check_rounds(problem: Problem, rounds: list[Round], path: Path) -> None:
    """Raise a `LedgerError` unless the images that the rounds queried are of the pool, and are what the ledger says of them."""
    pool = set(problem.split.pool.tolist())
    for r in rounds:
        if strange := [i for i in r.queried if i not in pool]:
            said = f"image {strange[0]} is queried, which is not in the pool"
        elif problem.dataset.train_labels[r.queried].tolist() != r.true_classes:
            said = "the classes are not those of the queried images"
        elif problem.train.noisy_N[r.queried].tolist() != r.noisy:
            said = "the noisy images are not those of this seed"
        else:
            continue
        raise LedgerError(
            f"{path}, line {r.round + 2} is corrupted ({said}). It is not repaired: restore it from a backup, or delete the "
            "file to run it again."
        )
