"""One notebook, executed safely: a process of its own, a time limit, and no process left behind.

Run as a script, this file is that process. It does not import `al_utils`, so that a job starts quickly.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 120  # seconds for a kernel to answer: on a busy machine a first `import` alone takes long


def run_job(notebook: str, output: str, parameters: dict, config: dict, timeout: float) -> str:
    """Run an experiment's notebook to `<output>.ipynb`; returns "" or its error in one line.

    Paths are relative to the repository's root. Until the run is finished, the notebook is `<output>.partial.ipynb`;
    when it fails it stays as `<output>.failed.ipynb`. A run that is finished already is left as it is. `config` are the
    fields of the configuration that the ledger must have.

    Raises:
        distributed.Reschedule: within a Dask task that was cancelled or whose worker is closing.
    """
    if is_finished(ROOT / output, config):  # Dask repeats a task whose worker was lost before its answer arrived
        return ""
    partial, failed, final = (ROOT / f"{output}{ending}.ipynb" for ending in (".partial", ".failed", ""))
    stopped = _dask_stopped()
    error = run_notebook(notebook, f"{output}.partial.ipynb", parameters, timeout, stopped)
    if stopped():
        import distributed

        partial.unlink(missing_ok=True)
        raise distributed.Reschedule
    error = error or _ledger_error(ROOT / f"{output}.jsonl", config)
    if partial.exists():
        os.replace(partial, failed if error else final)
    if not error:
        failed.unlink(missing_ok=True)
    return error


def _ledger_error(path: Path, config: dict) -> str:
    """What is wrong with the ledger of a notebook that ended well; papermill's word alone is not enough."""
    from al_utils.ledger import LedgerError, check_header, read_ledger
    from al_utils.records import is_over

    if not path.exists():
        return f"the notebook ended without the ledger {path.name}"
    try:
        header, rounds = read_ledger(path)
        check_header(path, header or {"config": {}}, {"config": config})
    except LedgerError as error:
        return f"LedgerError: {error}"
    n_rounds = config["n_rounds"]
    return "" if is_over(rounds, n_rounds) else f"the notebook ended after {len(rounds)} of {n_rounds + 1} rounds"


def is_finished(output: Path, config: dict) -> bool:
    """A run is finished when its ledger has its last round, and its notebook was executed to the end.

    The network of a run that is to keep it must be there, too.
    """
    ledger = Path(f"{output}.jsonl")
    return Path(f"{output}.ipynb").exists() and has_last_round(ledger, config["n_rounds"]) and has_model(ledger, config)


def has_model(ledger: Path, config: dict) -> bool:
    """Whether the network is beside the ledger, if it is to be kept."""
    return not config.get("save_model") or ledger.with_suffix(".pt").exists()


def has_last_round(ledger: Path, n_rounds: int) -> bool:
    """Whether a ledger has the round after `n_rounds` of queries, or one that ended its run, planned with as many, early."""
    return count_rounds(ledger) == n_rounds + 1 or (ended_early(ledger) and planned_rounds(ledger) >= n_rounds)


def count_rounds(ledger: Path) -> int:
    """The rounds of a ledger whose lines are whole."""
    return ledger.read_bytes().rpartition(b"\n")[0].count(b'\n{"round": ') if ledger.exists() else 0


def planned_rounds(ledger: Path) -> int:
    """The rounds of queries that a ledger's header plans."""
    return json.loads(ledger.read_bytes().partition(b"\n")[0])["config"]["n_rounds"]


def ended_early(ledger: Path) -> bool:
    """Whether a whole round of a ledger says that its run is finished; in a text, JSON writes these letters otherwise."""
    rounds = ledger.read_bytes().rpartition(b"\n")[0].partition(b"\n")[2] if ledger.exists() else b""
    return b', "ended": "' in rounds


def run_notebook(
    notebook: str,
    output: str,
    parameters: dict,
    timeout: float,
    stopped: Callable[[], bool] = lambda: False,
    one_thread: bool = True,
) -> str:
    """Execute a notebook with papermill in a process of its own; returns "" or its error in one line.

    The process and its kernel are killed after `timeout` seconds, when `stopped()`, and when this process dies.
    """
    from ..compute.cores import KEEP_MEMORY, ONE_THREAD  # here: see the module's docstring

    # Relative paths, because papermill writes them into the notebook. -P: no `datasets` or `models` from this folder.
    command = [sys.executable, "-P", str(Path(__file__).resolve().relative_to(ROOT)), notebook, output, json.dumps(parameters)]
    end = time.monotonic() + timeout
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment() | KEEP_MEMORY | (ONE_THREAD if one_thread else {}), start_new_session=True,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )  # fmt: skip
        pipe = cast(IO[bytes], process.stdin)
        try:
            while process.poll() is None:
                if stopped():
                    return "stopped"
                if time.monotonic() > end:
                    return f"TimeoutError: not finished after the limit of {timeout:g} seconds (--timeout)"
                time.sleep(0.1)
        finally:
            if process.returncode is None:
                kill_tree(process.pid)
                process.wait()
            pipe.close()
        log.seek(0)
        lines = log.read().decode(errors="replace").split("\n")
    if process.returncode == 0:
        return ""
    said = [line for line in lines if line.strip()]
    return said[-1] if said and process.returncode == 1 else f"its process ended with status {process.returncode}"


def _environment() -> dict[str, str]:
    """With this project before all others of its name, and files that are UTF-8 in every locale."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUTF8": "1"}


def kill_tree(pid: int) -> None:
    """Kill a process and all that descend from it, whatever their process groups: a kernel has one of its own."""
    import psutil  # here: ledgers alone need nothing but PyTorch and NumPy

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in reversed(family):
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(family[1:], timeout=5)  # until then they may hold a ledger's lock


def _dask_stopped() -> Callable[[], bool]:
    """A function that tells whether Dask has given up the task that calls this; outside of Dask, always False."""
    import distributed
    from distributed.core import Status

    try:
        worker = distributed.get_worker()
    except ValueError:
        return lambda: False
    key, leaving = worker.get_current_task(), (Status.closing, Status.closed, Status.failed)

    def stopped():
        task = worker.state.tasks.get(key)
        return worker.status in leaving or task is None or task.state == "cancelled"

    return stopped


def _main(notebook: str, output: str, parameters: str) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # nbformat's validator would import it for an optional check of links, and it takes 0.85 s to build its grammar.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import papermill

    def execute():
        paths = (path.replace("{", "{{").replace("}", "}}") for path in (notebook, output))  # papermill formats them
        return papermill.execute_notebook(*paths, json.loads(parameters), progress_bar=False, start_timeout=START_TIMEOUT)

    try:
        try:
            executed = execute()
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # what nbclient raises when a kernel does not start has no type of its own
                raise
            executed = execute()
    except papermill.PapermillExecutionError as error:
        sys.exit(_one_line(f"{error.ename}: {error.evalue}"))
    except Exception as error:
        sys.exit(_one_line(f"{type(error).__name__}: {error}"))
    # Papermill takes sys.exit(0) in a cell for success, and leaves the cells after it out.
    for number, cell in enumerate(executed.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            sys.exit(f"SystemExit: cell {number} ended the notebook")


def _die_with_parent() -> None:
    """Wait for the other end of stdin to close, which it does however the parent dies, and take the kernel along."""
    while os.read(0, 1):
        pass
    kill_tree(os.getpid())


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    _main(*sys.argv[1:])
