"""Data sets of packages and of a folder, and what is said where they cannot be had."""

import numpy as np
import pytest
import torch

from al_utils.datasets import DatasetError, load_dataset


def test_embedded_digits():
    d = load_dataset("mnist5k")
    assert d.train_images.shape == (4_000, 1, 28, 28) and d.test_images.shape == (1_000, 1, 28, 28)
    assert d.train_images.dtype == torch.uint8 and d.train_labels.dtype == torch.int64
    assert torch.bincount(d.train_labels).tolist() == [400] * 10 and torch.bincount(d.test_labels).tolist() == [100] * 10
    pixels = d.train_images.double() / 255
    assert abs(pixels.mean() - d.mean[0]) < 1e-9 and abs(pixels.std(correction=0) - d.std[0]) < 1e-9
    assert d.checksum == load_dataset("mnist5k").checksum


@pytest.mark.parametrize("name, first", [("mnist", 5), ("fashion_mnist", 9)])
def test_complete_sets_of_torchvision(full_data, name, first):
    d = load_dataset(name)
    assert d.train_images.shape == (60_000, 1, 28, 28) and d.test_images.shape == (10_000, 1, 28, 28)
    assert int(d.train_labels[0]) == first and len(d.class_names) == 10  # the published first label
    known_mean = {"mnist": 0.1307, "fashion_mnist": 0.2860}[name]  # as usually quoted
    assert abs(d.mean[0] - known_mean) < 1e-4


def test_cifar10_from_a_folder(cifar10_folder):
    d = load_dataset(f"folder:{cifar10_folder}")
    assert d.label == "CIFAR-10 (JPEG)" and d.train_images.shape[1:] == (3, 32, 32)
    assert d.class_names == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert len(d.train_images) == 5_000 and len(d.test_images) == 1_000


def test_folder_holds_the_pixels_and_is_split_where_it_has_no_test(image_folder):
    from PIL import Image

    folder = image_folder({"cat": 10, "dog": 11}, mode="RGB")
    d = load_dataset(f"folder:{folder}")
    assert d.class_names == ["cat", "dog"] and d.train_images.shape == (17, 3, 20, 20) and len(d.test_images) == 4
    files = sorted((folder / "cat").iterdir())
    first = np.asarray(Image.open(files[0])).transpose(2, 0, 1)
    assert np.array_equal(d.train_images[0].numpy(), first)
    assert np.array_equal(d.test_images[0].numpy(), np.asarray(Image.open(files[4])).transpose(2, 0, 1))


def test_a_changed_folder_is_decoded_again(image_folder):
    folder = image_folder({"cat": 10, "dog": 10})
    before = load_dataset(f"folder:{folder}")
    (folder / "cat" / "0.png").unlink()
    after = load_dataset(f"folder:{folder}")
    n_before, n_after = (len(d.train_images) + len(d.test_images) for d in (before, after))
    assert n_after == n_before - 1 and after.checksum != before.checksum


def test_one_colour_image_makes_all_colour(image_folder):
    folder = image_folder({"cat": 10, "dog": 10})
    image_folder({"dog": 5}, mode="RGB", folder=folder)
    assert load_dataset(f"folder:{folder}").train_images.shape[1] == 3


def test_a_missing_folder_and_a_missing_data_set_say_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(DatasetError, match="there is no folder"):
        load_dataset(f"folder:{tmp_path}/nowhere")
    monkeypatch.setenv("AL_DATA_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match="AL_DATA_DIR.*mnist5k"):
        load_dataset("cifar10")
