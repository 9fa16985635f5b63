"""Where the tests find data: the full data sets in `AL_DATA_DIR`, or in `../shared/data` beside the checkout."""

import os
import signal
import time
import zipfile
from pathlib import Path

import pytest

pytest_plugins = ["in_browser"]
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the tests compare bits
# A shell that starts a job in the background has it ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if "AL_DATA_DIR" not in os.environ and SHARED.is_dir():
    os.environ["AL_DATA_DIR"] = str(SHARED)


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory):
    """Decoded data sets go to a folder of the test session, shared with every process that a test starts."""
    os.environ["AL_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def undisturbed(cache_dir, tmp_path_factory):
    """The ledgers of an undisturbed sweep over five seeds, timings aside: what every fault must lead to in the end."""
    from little_sweeps import experiment, ledgers, run, write_sweep

    folder = tmp_path_factory.mktemp("undisturbed")
    experiment(folder)
    status, said = run(folder, write_sweep(folder, seed=[0, 1, 2, 3, 4]), "--workers", 2)
    assert status == 0, said
    return ledgers(folder / "reports" / "little")


@pytest.fixture(scope="session")
def full_data():
    """The folder with complete MNIST and FashionMNIST; skips where it is not."""
    from al_utils.data.origins import data_dir

    if not (data_dir() / "MNIST" / "raw").is_dir() or not (data_dir() / "FashionMNIST" / "raw").is_dir():
        pytest.skip(f"needs complete MNIST and FashionMNIST: none in {data_dir()} (set AL_DATA_DIR)")
    return data_dir()


@pytest.fixture(scope="session")
def cifar10_folder(tmp_path_factory):
    """A tenth of CIFAR-10 as JPEG files in folders; skips where the archive is not."""
    archive = SHARED / "cifar10_jpeg.zip"
    if not archive.is_file():
        pytest.skip(f"needs CIFAR-10 as JPEG files: there is no {archive.name} in ../shared/data")
    folder = tmp_path_factory.mktemp("jpeg")
    with zipfile.ZipFile(archive) as z:
        z.extractall(folder, [name for name in z.namelist() if name.endswith("0.jpg")])
    return folder / "cifar10_jpeg"


@pytest.fixture
def image_folder(tmp_path):
    """Make a folder of images: `image_folder({"cat": 10, "dog": 12}, size=(20, 24), mode="RGB")`."""
    import numpy as np
    from PIL import Image

    def make(classes, size=(20, 20), mode="L", folder=tmp_path / "images"):
        rng = np.random.default_rng(0)
        for name, n in classes.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (*size, *([3] if mode == "RGB" else [])), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i}.png")
        return folder

    return make


@pytest.fixture
def two(tmp_path) -> Path:
    """Classes a and b of ten images each."""
    from little_images import fill

    for name in "ab":
        fill(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.fixture
def path(tmp_path):
    """A ledger with three of its five rounds, `little_ledgers.ROUNDS`."""
    from little_ledgers import HEADER, ROUNDS, write_rounds

    return write_rounds(tmp_path / "deep" / "run.jsonl", ROUNDS[:3], HEADER)


@pytest.fixture
def registry():
    """The acquisition functions that a test registers are gone after it."""
    from al_utils import acquisition

    before = dict(acquisition.registry._registry)
    yield
    acquisition.registry._registry.clear()
    acquisition.registry._registry.update(before)


@pytest.fixture(scope="session")
def runs(cache_dir, tmp_path_factory):
    """The recorded runs of three strategies that had the same choice, by strategy."""
    from al_utils.experiment import run_experiment
    from al_utils.results import replay

    folder = tmp_path_factory.mktemp("ledgers")
    for strategy in ("random", "max_entropy", "bald"):
        config = tiny(strategy=strategy, noise="gaussian", noise_rate=0.3)
        list(run_experiment(config, folder / f"{config.name}.jsonl"))
    return {run.config["strategy"]: run for run in replay.recorded_runs(folder)}


def wait_for(condition, seconds=60, step=0.02):
    """What `condition()` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(step)
    return found


def shipped_ledgers() -> list[Path]:
    """The ledgers that come with the project: `own` and `runs` hold those of whoever works in this checkout."""
    from al_utils.ledger import find_ledgers

    return [
        path for path in find_ledgers(ROOT / "reports") if path.relative_to(ROOT / "reports").parts[0] not in ("own", "runs")
    ]


def tiny(**changes):
    """The smallest configuration that still does everything; seconds at most."""
    from al_utils import ExperimentConfig

    base = dict(protocol="tuned", n_initial=20, n_query=5, n_rounds=2, n_valid=20, epochs=3, mc_samples=4)
    return ExperimentConfig.from_dict(base | changes)
