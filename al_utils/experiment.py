"""The experiment: per round fit, evaluate, predict, acquire, and a line in the ledger."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from . import acquisition, checks, models, scoring
from .classifier import Classifier
from .compute.machine import Stopwatch, environment, fixed_threads
from .config import ExperimentConfig
from .datasets import Dataset, load_dataset
from .known import Known, Outputs, State
from .ledger import Ledger, LedgerError, Round, check_header
from .noise import Images, draw_jitter, make_noise
from .oracle import Oracle, checked_answers, described
from .randomness import generator
from .recipes import Augmented
from .splits import Split, check_fits, split_dataset
from .training import Diverged, batch_sizes, embeddings, evaluate, fit, predictions, to_score


@dataclass(frozen=True)
class Problem:
    """What all strategies under one seed share: the data, the split and the noise, on the run's device."""

    config: ExperimentConfig
    dataset: Dataset
    split: Split
    train: Images
    test: Images
    test_clean: Images
    train_labels: Tensor
    test_labels: Tensor
    before: tuple[Round, ...] = ()  # the rounds so far, see `after`
    known: Known = field(default_factory=Known)


def prepare(config: ExperimentConfig) -> Problem:
    """Load the data, split it and draw the noise, of a configuration that can be run: a pure function of it.

    Raises:
        ValueError: an unknown name, a strategy or network that lacks what it needs, or more images asked for than there are.
        datasets.DatasetError: no such data.
    """
    checks.check_names_known(config)
    dataset = load_dataset(config.dataset, config.image_size)
    check_fits(config, dataset)
    checks.check_needs(config)
    checks.check_memory(config, tuple(dataset.train_images.shape), len(dataset.class_names))
    samples = config.posterior == "mc_dropout" and acquisition.get(config.strategy).samples
    models.check(config.model, dataset.train_images.shape, len(dataset.class_names), samples)
    return _drawn(config, dataset)


def prepare_to_look(config: ExperimentConfig) -> Problem:
    """The same, of a recorded configuration: its strategy and network need not be known here."""
    dataset = load_dataset(config.dataset, config.image_size)
    check_fits(config, dataset)
    return _drawn(config, dataset)


def _drawn(config: ExperimentConfig, dataset: Dataset) -> Problem:
    dataset, drawn = split_dataset(config, dataset)
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)

    jitter = draw_jitter(config, dataset.train_images.shape, generator(config.seed, "jitter"))

    def images(pixels, noise=None, jitter=None):
        return Images(pixels.to(config.device), mean, std, noise, config.noise_rate, config.noise_draw == "each_access", jitter)

    def noise(images):
        return (
            make_noise(config, mean, std, generator(config.seed, f"{images} noise"))
            if config.noise_on in ("all", images)
            else None
        )

    return Problem(
        config=config,
        dataset=dataset,
        split=drawn,
        train=images(dataset.train_images, noise("train"), jitter),
        test=images(dataset.test_images, noise("test")),
        test_clean=images(dataset.test_images),
        train_labels=dataset.train_labels.to(config.device),
        test_labels=dataset.test_labels.to(config.device),
    )


def run_experiment(config: ExperimentConfig, ledger: str | Path | None = None, oracle: Oracle | None = None) -> Iterator[Round]:
    """Yield the rounds of a run, one at a time, as they end; with a `ledger`, those it holds first, unchanged.

    A killed run that is started again goes on after its last whole round, with the result of an undisturbed one. So does
    a finished one that is asked for more rounds. Each of the `n_rounds` rounds trains from scratch, evaluates and queries;
    a last one trains and evaluates on all labels.

    Args:
        ledger: path of the run's ledger, from the project's root if it is relative; None keeps none.
        oracle: who labels the queries; None takes the true classes.

    Raises:
        ValueError: see `prepare`; images without a label and no oracle; an answer that is no class.
        LedgerError: see `Ledger` and `check_rounds`. training.Diverged: the loss is not finite.
    """
    problem = prepare(config)
    if oracle is None and (unknown := int((problem.dataset.train_labels < 0).sum())):
        raise ValueError(
            f"{unknown:,} images of {problem.dataset.label} have no label, so an oracle must answer: "
            "label them in notebooks/04_be_the_oracle.ipynb, or give run_experiment an oracle."
        )
    with contextlib.ExitStack() as stack:
        book = stack.enter_context(Ledger(ledger, header(problem, oracle))) if ledger else None
        if book:
            check_rounds(problem, book.rounds, book.path)
        done = list(book.rounds) if book else []
        yield from done
        if book and book.stopped:
            raise Diverged(book.stopped)
        for number in range(len(done), config.n_rounds + 1):
            now, labelled = after(problem, done)
            try:
                with fixed_threads():
                    round = run_round(now, number, labelled)
            except Diverged as reason:
                if book:
                    book.stop(f"round {number}: {reason}")
                raise
            if oracle and round.queried:
                answers = oracle.answer(round, config.seed)
                round = replace(round, labels=checked_answers(answers, round, len(problem.dataset.class_names)))
            if book:
                book.append(round)
            done.append(round)
            yield round


def check_data(path: Path, found: dict, problem: Problem) -> None:
    """Raise a `LedgerError` unless the data are those of a ledger with the header `found`, and the first labels too."""
    d = problem.dataset
    data = {"name": d.name, "label": d.label, "checksum": d.checksum, "classes": d.class_names}
    check_header(path, found, found | {"data": data, "initial": problem.split.initial.tolist()})


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


def after(problem: Problem, rounds: list[Round]) -> tuple[Problem, Tensor]:
    """What the next round starts from: the problem with the answered labels in it, and the images labelled so far.

    An image that the oracle gave no label is in neither the pool nor the labelled images, as indices into the training
    images.
    """
    queried = [i for r in rounds for i in r.queried]
    answers = [a for r in rounds for a in (r.true_classes if r.labels is None else r.labels)]
    labelled = [i for i, answer in zip(queried, answers) if answer is not None]
    if any(r.labels is not None for r in rounds):
        labels, given = problem.train_labels.clone(), [a for a in answers if a is not None]
        labels[labelled] = torch.tensor(given, dtype=labels.dtype, device=labels.device)
        pool = problem.split.pool[~torch.isin(problem.split.pool, torch.tensor(queried))]
        problem = replace(problem, train_labels=labels, split=replace(problem.split, pool=pool))
    return replace(problem, before=tuple(rounds)), torch.cat([problem.split.initial, torch.tensor(labelled, dtype=torch.long)])


def run_round(problem: Problem, number: int, labelled: Tensor) -> Round:
    """One round from the labels so far (indices into the training images): a pure function of its arguments."""
    watch = Stopwatch(problem.config.device)
    with watch("fit"):
        model, train_loss = train_model(problem, number, labelled)
    with watch("evaluate"):
        metrics = {"train_loss": train_loss} | measure(problem, number, model)
    if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise Diverged(f"{wrong[0]} is {metrics[wrong[0]]}: lower lr={problem.config.lr}")
    queried: list[int] = []
    scores: list[float] = []
    if number < problem.config.n_rounds:
        queried, scores = query(problem, number, model, labelled, watch)
    return Round(
        round=number,
        n_labels=len(labelled),
        metrics=metrics,
        queried=queried,
        scores=scores,
        true_classes=problem.dataset.train_labels[queried].tolist(),
        noisy=problem.train.noisy_N[queried].tolist(),
        seconds={part: float(f"{spent:.4f}") for part, spent in watch.seconds.items()},
        note=_note_on_batches(problem.config, len(labelled)),
    )


def _note_on_batches(c: ExperimentConfig, n: int) -> str:
    """Where skipped images leave a batch that the network cannot train on, `fit` cuts the epoch otherwise."""
    wanted = batch_sizes(n, c.batch_size, c.last_batch)
    sizes = batch_sizes(n, c.batch_size, c.last_batch, models.get(c.model).smallest_batch)
    if sizes == wanted:
        return ""
    return f"{n} labels would leave a batch of {min(wanted)}: cut into {len(sizes)} of {min(sizes)} to {max(sizes)} instead"


def train_model(problem: Problem, number: int, labelled: Tensor) -> tuple[Classifier, float]:
    """The network of a round, trained on the images at `labelled`, and its training loss.

    It is newly initialised; with `warm_start` it begins with the weights of the round before, see `weights_before`.
    """
    start = weights_before(problem, number) if problem.config.warm_start and number else None
    return _train_from(start, problem, number, labelled)


def weights_before(problem: Problem, number: int) -> State:
    """The weights that the round before `number` ended with; where they are not at hand, all rounds so far train again."""
    if len(problem.before) < number:
        raise ValueError(f"round {number} with warm_start needs the rounds before it: take the problem from `after`.")
    start = None
    for earlier in reversed(range(number)):  # what is at hand is the last round's, as a rule
        now, labelled = after(problem, list(problem.before[:earlier]))
        if (start := problem.known.weights(_key(now, earlier, labelled))) is not None:
            break
    for again in range(earlier + 1 if start else 0, number):
        now, labelled = after(problem, list(problem.before[:again]))
        start = _train_from(start, now, again, labelled)[0].state_dict()
    assert start is not None
    return start


def _key(problem: Problem, number: int, labelled: Tensor) -> tuple:
    """What fixes the network of a round, beside the configuration and the data."""
    return number, labelled.tolist(), problem.train_labels[labelled.to(problem.train_labels.device)].tolist()


def _train_from(start: State | None, problem: Problem, number: int, labelled: Tensor) -> tuple[Classifier, float]:
    c, rng = problem.config, partial(generator, problem.config.seed, round=number)
    model = models.build_model(
        c.model, problem.dataset.train_images.shape, len(problem.dataset.class_names), rng("initialisation"), c.device
    )
    if start:
        model.load_state_dict(start)
    images = problem.train.redrawn(rng("noise in training", device=problem.train.pixels.device))
    on_labelled, on_valid = labelled.to(c.device), problem.split.valid.to(c.device)
    part, seen = (model, images) if c.augmentation != "none" else seen_by(model, images, problem)
    train = seen.take(on_labelled)
    if c.augmentation != "none":
        train = Augmented(train, c.augmentation, rng("augmentation"))
    valid = seen.take(on_valid), problem.train_labels[on_valid]
    train_loss = fit(part, train, problem.train_labels[on_labelled], c, rng("batches"), valid)
    if c.warm_start:
        problem.known.keep_weights(_key(problem, number, labelled), model)
    return model, train_loss


def seen_by(model: Classifier, images: Images, problem: Problem) -> tuple[Classifier, Images | Outputs]:
    """What is to be computed with, and on: the network and the images, or where the trunk is frozen, its head and outputs."""
    lasting = any(images is own for own in (problem.train, problem.test, problem.test_clean))  # not redrawn for this time
    return problem.known.behind_trunk(model, images) if model.frozen and lasting else (model, images)


def measure(problem: Problem, number: int, model: Classifier) -> dict[str, float]:
    """Validation accuracy; accuracy, NLL and ECE on the test images as configured; accuracy on the clean ones.

    Without validation images there is no validation accuracy.
    """
    s = problem
    rng = generator(s.config.seed, "noise in evaluation", number, s.train.pixels.device)
    on_valid = {}
    if s.config.n_valid:
        valid = s.split.valid.to(s.config.device)
        part, train = seen_by(model, s.train.redrawn(rng), s)
        on_valid = {"valid_accuracy": evaluate(part, train.take(valid), s.train_labels[valid])["accuracy"]}
    on_test = evaluate(*seen_by(model, s.test.redrawn(rng), s), s.test_labels)
    on_clean = on_test if not s.test.has_noise else evaluate(*seen_by(model, s.test_clean, s), s.test_labels)
    return on_valid | {
        "test_accuracy": on_test["accuracy"],
        "test_accuracy_clean": on_clean["accuracy"],
        "test_nll": on_test["nll"],
        "test_ece": on_test["ece"],
    }


def query(
    problem: Problem, number: int, model: Classifier, labelled: Tensor, watch: Stopwatch | None = None
) -> tuple[list[int], list[float]]:
    """The `n_query` unlabelled images that the strategy wants next: indices into the training images, and their scores.

    Raises:
        ValueError: what the strategy returned are no scores or positions of the pool. RuntimeError: they mean nothing. See
            `scoring.checked_scores`, `checked_batch`, `check_repeats`, `check_ranking`, `check_samples`.
    """
    c, watch = problem.config, watch or Stopwatch(problem.config.device)
    strategy = acquisition.get(c.strategy, c.posterior)
    pool = candidates(problem, number, labelled)
    if strategy.image_by_image:
        chunks = _chunks(strategy, problem, number, model, pool)
        chunks = watch.each("predict", chunks) if strategy.predicts else chunks
        with watch("acquire"):
            scores_N = scoring.score_in_chunks(strategy, chunks, len(pool), generator(c.seed, "acquisition", number))
    else:
        with watch("predict"):
            given = asked_for(strategy, problem, number, model, labelled, pool)
        with watch("acquire"):
            if strategy.batch:
                positions, scores = scoring.batch_of(strategy, given, len(pool), c.n_query, twice=number == 0)
                return pool[positions].tolist(), scores.tolist()
            scores_N = scoring.scores_of(strategy, given, len(pool), twice=number == 0)
    with watch("acquire"):
        if c.posterior == "mc_dropout":
            scoring.check_ranking(scores_N)
        positions = acquisition.top(scores_N, c.n_query, generator(c.seed, "ties", number))
        return pool[positions.cpu()].tolist(), scores_N[positions].tolist()


def candidates(problem: Problem, number: int, labelled: Tensor) -> Tensor:
    """The images that a round may query: all that are unlabelled, or `pool_subset` of them, drawn anew each round."""
    pool, n = unlabelled(problem, labelled), problem.config.pool_subset
    if not 0 < n < len(pool):
        return pool
    drawn = torch.randperm(len(pool), generator=generator(problem.config.seed, "pool subset", number))[:n]
    return pool[drawn.sort().values]


def unlabelled(problem: Problem, labelled: Tensor) -> Tensor:
    """The pool without what has been queried, as ascending indices into the training images."""
    in_pool = torch.zeros(len(problem.train), dtype=torch.bool)
    in_pool[problem.split.pool] = True
    in_pool[labelled] = False
    return in_pool.nonzero().flatten()


def asked_for(
    strategy: acquisition.Acquisition, problem: Problem, number: int, model: Classifier, labelled: Tensor, pool: Tensor
) -> dict:
    """What the strategy's arguments name, see `acquisition.ARGUMENTS`; nothing else is computed."""
    c, train = problem.config, problem.train
    train = train.redrawn(generator(c.seed, "noise in acquisition", number, train.pixels.device))
    on_device = labelled.to(c.device)
    known: dict[str, Callable] = {
        "log_probs_K_N_C": lambda: torch.cat(list(_chunks(strategy, problem, number, model, pool)), dim=1),
        "embeddings_N_D": lambda: embeddings(*seen_by(model, train, problem), pool.to(c.device)),
        "labelled_embeddings_L_D": lambda: embeddings(*seen_by(model, train, problem), on_device),
        "labels_L": lambda: to_score(problem.train_labels[on_device]),
        "model": lambda: model.eval(),
        "n_query": lambda: c.n_query,
        "generator": lambda: generator(c.seed, "acquisition", number),
    }
    return {name: known[name]() for name in strategy.asks}


def _chunks(strategy, problem: Problem, number: int, model: Classifier, pool: Tensor) -> Iterator[Tensor]:
    """Predictions of the pool in chunks `[K, n, C]`; one without content for a strategy that needs none."""
    if strategy.predicts:
        return posterior_predictions(problem, number, model, pool)
    return iter([torch.empty(0, len(pool), 0)])


def posterior_predictions(problem: Problem, number: int, model: Classifier, index: Tensor) -> Iterator[Tensor]:
    """Log-probabilities of the training images at `index` under the samples of a round, in chunks `[K, n, C]`."""
    c, train = problem.config, problem.train
    train = train.redrawn(generator(c.seed, "noise in acquisition", number, train.pixels.device))
    part, seen = seen_by(model, train, problem)
    if c.posterior == "as_released":  # no dropout anywhere: K identical passes
        for log_probs_1_n_C in predictions(part, seen, index=index.to(c.device)):
            yield log_probs_1_n_C.expand(c.mc_samples, -1, -1)
        return
    masks = None
    if c.dropout:
        masks = model.draw_masks((c.mc_samples, 1), c.dropout, generator(c.seed, "posterior", number))
    statistics = [buffer.clone() for buffer in model.buffers()]
    for k, log_probs_K_n_C in enumerate(predictions(part, seen, masks, index.to(c.device))):
        if k == 0 and c.dropout:
            scoring.check_samples(log_probs_K_n_C, statistics, list(model.buffers()))
        yield log_probs_K_n_C


def header(problem: Problem, oracle: Oracle | None = None) -> dict:
    """A ledger's first line: what fixes the result (configuration, data, initial labels) and where it was computed."""
    d = problem.dataset
    labelled_by = {"oracle": described(oracle)} if oracle else {}
    return {
        "config": problem.config.to_dict(),
        "data": {"name": d.name, "label": d.label, "checksum": d.checksum, "classes": d.class_names},
        "initial": problem.split.initial.tolist(),
        "environment": environment(problem.config.device),
        "registered": checks.registered_sources(problem.config, d),
        **labelled_by,
    }
