"""`01_explore_strategies`: choose, press Run, and watch the learning curves grow."""

import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import ipywidgets as w
import pandas as pd

from ..chance import at_chance
from ..config import ExperimentConfig, located
from ..experiment import run_experiment
from ..ledger import Round, read_ledger, tidy
from ..problem import Problem, prepare
from ..results import figures
from ..words import label
from .cards import Card, cards, class_line, note
from .controls import BackgroundJob, button, control, drawn, say, status
from .form import Form, bound, in_words_of_the_form
from .ledger_paths import ledger_path
from .score_lines import score_line

CURVES_OF = {"test accuracy": "test_accuracy", "test accuracy, clean images": "test_accuracy_clean",
           "validation accuracy": "valid_accuracy"}  # fmt: skip
SHOWN = 6  # images of a strategy's last queries


def curves_so_far(runs: dict[ExperimentConfig, list[Round]], metric: str = "test_accuracy"):
    """The learning curves so far, on an axis as long as the whole run."""
    rows = [tidy(config.name, config.to_dict(), round) for config, rounds in runs.items() for round in rounds]
    figure = figures.learning_curves(pd.DataFrame(rows), metric)
    ends = [n for config in runs for n in (config.n_labels[0], config.n_labels[-1])]
    margin = 0.03 * (max(ends) - min(ends)) or 1
    figure.axes[0].set_xlim(min(ends) - margin, max(ends) + margin)
    return figure


def last_queries(problem: Problem, config: ExperimentConfig, rounds: list[Round]) -> str:
    """The best-scored images of the last round that queried any, as HTML; random scores none."""
    name = label(config.strategy)
    asked = [r for r in rounds if r.queried]
    if not asked:
        return note(f"{name}: nothing queried yet", bold=True)
    last, class_names = asked[-1], problem.dataset.class_names
    shown = [
        Card(problem.train.image(i), [class_line(class_names, c), *score_line(config.strategy, s)], noisy)
        for i, c, s, noisy in list(zip(last.queried, last.true_classes, last.scores, last.noisy))[:SHOWN]
    ]
    head = f"{name}, round {last.round}: the first {len(shown)} of {len(last.queried)} queried images"
    return note(head, bold=True) + cards(shown, class_names, size=64)


def guessing(runs: dict[ExperimentConfig, list[Round]], problem: Problem) -> list[str]:
    """A sentence for each run whose last network does not do better than chance."""
    found = [(config, at_chance(config, rounds[-1], problem.test_labels.cpu())) for config, rounds in runs.items() if rounds]
    return [f"{label(config.strategy)}: {said}" for config, said in found if said]


class Explorer(w.VBox):
    """Controls, learning curves and last queries; `defaults` are fields of `ExperimentConfig` and `strategies`."""

    def __init__(self, folder: str | Path, strategies: list[str], **defaults):
        BackgroundJob.halt("explore")
        self.folder, self.job = located(folder), None
        self.runs: dict[ExperimentConfig, list[Round]] = {}
        self._problem: Problem | None = None
        self._lock, self._drawn_at = threading.RLock(), 0.0
        self._queries: dict[ExperimentConfig, w.HTML] = {}
        protocol = ExperimentConfig(strategy=strategies[0], **defaults).protocol
        defaults["clip_norm"] = bound(protocol, defaults.get("clip_norm", -1.0))
        self.form = Form(ExperimentConfig(strategy=strategies[0], **defaults), strategies, **defaults)
        self.metric = control(w.Dropdown, "curve of", "What the curves show", options=CURVES_OF, width="380px")
        self.metric.observe(lambda _: self._draw(), "value")
        self.run = button("▶ Run", "Train and query; goes on where these runs stopped", self._start, "primary")
        self.stop = button("■ Stop", "Stop at the end of the round; what is done is kept", self._stop, disabled=True)
        self.status, self.picture = status(), w.HTML()
        self.query_box = w.VBox(layout=w.Layout(flex="1 1 320px"))
        self.progress = w.IntProgress(0, 0, 1, description="rounds", tooltip="Rounds done of all that are chosen",
                                      layout=w.Layout(width="98%"))  # fmt: skip
        beside = w.HBox([self.picture, self.query_box], layout=w.Layout(flex_flow="row wrap", grid_gap="16px"))
        buttons = w.HBox([self.run, self.stop, self.metric])
        super().__init__([self.form, buttons, self.progress, self.status, beside])
        self.show([ExperimentConfig(strategy=s, **defaults) for s in strategies])

    def configs(self) -> list[ExperimentConfig]:
        """One configuration for each chosen strategy. Raises: ValueError."""
        return self.form.configs()

    def show(self, configs: list[ExperimentConfig]) -> None:
        """Show what the ledgers hold of these runs, without training."""
        self._begin(configs)
        for config in configs:
            path = ledger_path(self.folder, config)
            self.runs[config] = read_ledger(path)[1] if path.exists() else []
        for config in [c for c in configs if self.runs[c]]:
            self._query_cards(config)
        self._draw()
        n = sum(len(rounds) for rounds in self.runs.values())
        say(self.status, f"{n} rounds are done; Run goes on from there." if n else "Press Run.")

    def _begin(self, configs):
        with self._lock:
            self.runs = {config: [] for config in configs}
            self._problem, self._drawn_at = None, 0.0
            self._queries = {config: w.HTML() for config in configs}
            self.query_box.children = tuple(self._queries.values())
            self.progress.max = sum(config.n_rounds + 1 for config in configs)
            self._draw()

    def _start(self):
        try:
            configs = self.configs()
        except (ValueError, TypeError) as error:
            say(self.status, str(error), error=True)
            return
        self._busy(True)
        say(self.status, "Loading the data …")
        self._begin(configs)
        self.job = BackgroundJob("explore", self._work, self._ended)

    def _stop(self):
        self.stop.disabled = True
        say(self.status, "Stopping at the end of this round …")
        self.job.stop()

    def _busy(self, busy):
        self.form.enable(not busy)
        self.run.disabled = busy
        self.stop.disabled = not busy

    def _work(self, stopped):
        with ExitStack() as stack:  # closes the ledgers
            paths = {config: ledger_path(self.folder, config) for config in self.runs}
            going = {c: stack.enter_context(closing(run_experiment(c, path))) for c, path in paths.items()}
            while going and not stopped.is_set():
                for config, run in list(going.items()):
                    if stopped.is_set():
                        break
                    round = next(run, None)
                    if round is None:
                        going.pop(config)
                    else:
                        self._add(config, round)

    def _add(self, config, round):
        with self._lock:
            self.runs[config].append(round)
        said = "" if self.job and self.job.stopped.is_set() else f"{label(config.strategy)}: {round}"
        if said:
            say(self.status, said)
        self._query_cards(config)
        if time.monotonic() - self._drawn_at > 0.5:  # rounds read from a ledger come by the hundred a second
            self._draw()

    def _query_cards(self, config):
        if self._problem is None:
            self._problem = prepare(config)  # the strategies share it
        self._queries[config].value = last_queries(self._problem, config, self.runs[config])

    def _draw(self):
        with self._lock:
            runs = {config: list(rounds) for config, rounds in self.runs.items() if rounds}
        done = sum(len(rounds) for rounds in runs.values())
        self.progress.value = done
        self.progress.description = f"{done} of {self.progress.max}"
        metric = self.metric.value
        if any(metric not in rounds[0].metrics for rounds in runs.values()):
            self.picture.value = note("There is no validation accuracy: without validation images it is not measured.")
        elif runs:
            self.picture.value = drawn(curves_so_far, runs, metric, alt=f"Learning curves: {self.metric.label}")
        else:
            self.picture.value = note("The learning curves appear here after the first round.")
        self._drawn_at = time.monotonic()

    def _ended(self, error):
        self._busy(False)
        self._draw()
        if error:
            return say(self.status, in_words_of_the_form(error), error=True)
        done = all(len(rounds) == config.n_rounds + 1 for config, rounds in self.runs.items())
        said = ["Done." if done else "Stopped. What is done is kept; Run goes on from there."]
        say(self.status, " ".join(said + (guessing(self.runs, self._problem) if self._problem else [])))
