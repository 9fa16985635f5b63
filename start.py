"""The second half of `run_all.sh`: makes .venv as requirements.txt says, and starts in it what was asked for.

It runs under the system's Python, before anything is installed, and imports nothing but the standard library.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
INSTALLED = VENV / "installed"  # what was installed; empty while that is going on; without it .venv is not ours
REQUIREMENTS = ROOT / "requirements.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's builds without CUDA

# Runs a module in a process group that ends when this process does, however that ends: then its standard input closes.
END_WITH_PARENT = """
import os, runpy, signal, sys, threading

def watch():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def main(arguments: list[str]) -> None:
    for sign in ":\n":  # the separator of search paths, and what no one-line message survives
        if sign in str(ROOT):
            sys.exit(f"error: {str(ROOT)!r} contains {sign!r}, which Python's environments cannot: rename that folder.")
    cpu = arguments[:1] == ["--cpu"]
    if "--cpu" in arguments[1:]:
        sys.exit(f"error: --cpu comes first: ./run_all.sh --cpu {' '.join(a for a in arguments if a != '--cpu')}")
    try:
        lock = os.open(ROOT / ".venv.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if not is_current():
            sys.exit(f"error: {ROOT} cannot be written to ({error.strerror}), so .venv cannot be set up there.")
    else:
        os.set_inheritable(lock, True)  # so it is open, and locked, until what is started below ends
        hold_environment(lock, cpu)
    start(arguments[cpu:])


def start(arguments: list[str]) -> None:
    """Become the process that was asked for. -P: no module of the folder where the user stands is imported."""
    if arguments == ["setup"]:
        return
    if not arguments or arguments[0].startswith("-"):  # beside the results that come with the project
        arguments = ["quick", "--reports", str(ROOT / "reports" / "own"), *arguments]
    command, *rest = arguments
    if command in ("test", "lab"):
        os.chdir(ROOT)
    lab = ["jupyterlab", "--ip=127.0.0.1", f"--notebook-dir={ROOT}", "--LabApp.default_url=/lab/tree/notebooks"]
    modules = {"test": ["pytest"], "lab": lab, "page": ["al_utils.sweep.page"], "compare": ["al_utils.sweep.compare"]}
    module = modules.get(command, ["al_utils.sweep", command])
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    python = str(VENV / "bin" / "python")
    os.execve(python, [python, "-P", "-m", *module, *rest], environment)


def clean_environment() -> dict[str, str]:
    """Without what would let this Python find other people's modules."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def hold_environment(lock: int, cpu: bool) -> None:
    """Return with a shared lock on an environment that is as requirements.txt says; install it if it is not.

    Who uses .venv holds the lock shared, who installs it alone.
    """
    tries = 0
    while True:
        if not locked(lock, fcntl.LOCK_SH | fcntl.LOCK_NB):
            print(f"Waiting for another ./run_all.sh, which sets up {VENV}", flush=True)
            locked(lock, fcntl.LOCK_SH)
        if is_current():
            return
        if VENV.is_symlink() or (VENV.exists() and not INSTALLED.exists()):
            sys.exit(f"error: {VENV} was not made by ./run_all.sh, which leaves it alone: move it away, or remove it.")
        if locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if not is_current():  # by another one, between the two locks
                install(cpu)
            continue
        tries += 1
        if tries > 20:  # two that want to install stand in each other's way for a moment; who uses it stays
            sys.exit(
                "error: requirements.txt has changed, but another ./run_all.sh (a sweep, the lab, the tests) uses "
                f"{VENV}. Wait for its end, or end it."
            )
        time.sleep(0.1 + os.getpid() % 7 / 100)


def locked(lock: int, kind: int) -> bool:
    """Whether the lock was got; on a file system without locks it always is."""
    try:
        fcntl.flock(lock, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"{ROOT} cannot be locked ({error.strerror}): do not start two at once.", file=sys.stderr)
    return True


def is_current() -> bool:
    python = VENV / "bin" / "python"  # a link to the system's, which may be gone
    return python.exists() and INSTALLED.exists() and INSTALLED.read_bytes() == REQUIREMENTS.read_bytes()


def install(cpu: bool) -> None:
    print(f"Setting up {VENV} (once; a few minutes)", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    wanted = REQUIREMENTS.read_bytes()
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    INSTALLED.touch()
    run(os.environ.get("PYTHON") or sys.executable, "venv", str(VENV))
    python = str(VENV / "bin" / "python")
    pip = ("pip", "install", "--quiet", "--disable-pip-version-check")
    if cpu:
        torch = [line.split()[0] for line in wanted.decode().splitlines() if line.startswith("torch")]
        run(python, *pip, "--index-url", CPU_INDEX, *torch)
    run(python, *pip, "-r", str(REQUIREMENTS))
    # What an editable install is in the end: notebooks that are started without run_all.sh find al_utils too.
    for packages in VENV.glob("lib/python3*/site-packages"):
        (packages / "al_utils.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    INSTALLED.write_bytes(wanted)  # last: an interrupted installation is done again
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def run(python: str, *module: str) -> None:
    """`python -m module`, which ends with this process."""
    command = [python, "-c", END_WITH_PARENT, *module]
    environment = clean_environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment) as process:
        try:
            status = process.wait()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if status:
        sys.exit(f"error: setting up {VENV} failed ({module[0]} says why above); ./run_all.sh tries again.")


def stop(number: int, _) -> None:
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    print("Stopped. The same command goes on from here.", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main(sys.argv[1:])
