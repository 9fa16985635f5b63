"""The round of active learning as others compute it: train from scratch, score the pool, choose.

    python competitors.py plain|baal WORK.npz '{"model": "lenet", "strategy": "bald", "device": "cpu", ...}'

prints one line of JSON: the seconds of each half, and the mean training loss of the last epoch. It stands alone, because
baal has an environment of its own (`requirements-bench.txt`). WORK.npz is written by `al_utils.chapters.speed`; loading
it is not timed. Both use PyTorch's default number of threads, and no worker processes: starting them for each pass over
the data took longer than they saved.
"""

import copy
import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import models, transforms


class Pictures(Dataset):
    """As torchvision's data sets: an image becomes a PIL image, and the transforms a tensor, at each access."""

    def __init__(self, pixels_N_C_H_W, labels_N, mean_C, std_C):
        self.pixels = pixels_N_C_H_W.transpose(0, 2, 3, 1).squeeze()
        self.labels = labels_N
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean_C.tolist(), std_C.tolist())])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


def lenet(c, height, width):
    h, w = ((((side - 4) // 2) - 4) // 2 for side in (height, width))
    return nn.Sequential(
        nn.Conv2d(c, 6 * c, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6 * c, 16 * c, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * c * h * w, 120 * c), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(120 * c, 84 * c), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(84 * c, 10),
    )  # fmt: skip


def resnet18(c, height, width):
    net = models.resnet18()
    net.conv1 = nn.Conv2d(c, 64, 7, stride=2, padding=3, bias=False)
    net.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 10))
    return net


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)


def plain(net, pictures, initial, pool, work):
    """The loop of many a repository: K stochastic passes over a DataLoader, then the scores."""
    start = time.perf_counter()
    device = work["device"]
    optimizer, loader = sgd(net), DataLoader(Subset(pictures, initial), work["batch_size"], shuffle=True)
    net.train()
    for _ in range(work["epochs"]):
        epoch_loss = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            epoch_loss += loss.detach() * len(labels)
    wait_for(device)
    middle = time.perf_counter()
    net.eval()
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    loader, passes = DataLoader(Subset(pictures, pool), work["batch_size"]), []
    with torch.no_grad():
        for _ in range(work["mc_samples"]):
            passes.append(torch.cat([F.softmax(net(images.to(device)), dim=1) for images, _ in loader]))
    probs_K_N_C = torch.stack(passes)
    scores_N = entropy(probs_K_N_C.mean(0))
    if work["strategy"] == "bald":
        scores_N = scores_N - entropy(probs_K_N_C).mean(0)
    queried = scores_N.topk(10).indices.tolist()
    return middle - start, time.perf_counter() - middle, float(epoch_loss) / len(initial), len(queried)


def wait_for(device):
    if device != "cpu":
        torch.accelerator.synchronize(device)


def entropy(probs):
    return -torch.special.xlogy(probs, probs).sum(-1)


def baal(net, pictures, initial, pool, work):
    """As baal's documentation puts its parts together: data set, patched model, wrapper, heuristic, loop."""
    import structlog
    from baal.active import ActiveLearningDataset, heuristics
    from baal.active.active_loop import ActiveLearningLoop
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    start = time.perf_counter()
    data = ActiveLearningDataset(Subset(pictures, np.concatenate([initial, pool])))
    data.label(list(range(len(initial))))
    net = patch_module(net)
    wrapper = ModelWrapper(
        net,
        TrainingArgs(
            optimizer=sgd(net), criterion=nn.CrossEntropyLoss(), epoch=work["epochs"], batch_size=work["batch_size"],
            use_cuda=work["device"] != "cpu", workers=0,
        ),
    )  # fmt: skip
    history = wrapper.train_on_dataset(data)
    wait_for(work["device"])
    middle = time.perf_counter()
    heuristic = heuristics.BALD() if work["strategy"] == "bald" else heuristics.Entropy()
    loop = ActiveLearningLoop(
        data, wrapper.predict_on_dataset_generator, heuristic, query_size=10, iterations=work["mc_samples"], verbose=False
    )
    loop.step()
    return middle - start, time.perf_counter() - middle, float(history[-1]), len(data) - len(initial)


if __name__ == "__main__":
    name, file, work = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3])
    pictures = Pictures(file["pixels"], file["labels"], file["mean"], file["std"])
    torch.manual_seed(work["seed"])
    net = {"lenet": lenet, "resnet18": resnet18}[work["model"]](*file["pixels"].shape[1:])
    net = net.to(work["device"])
    few, labels = torch.stack([pictures[i][0] for i in range(8)]).to(work["device"]), torch.arange(8).to(work["device"])
    F.cross_entropy(copy.deepcopy(net)(few), labels).backward()  # warm
    fit, query, loss, n = {"plain": plain, "baal": baal}[name](net, pictures, file["initial"], file["pool"], work)
    assert n == 10, f"{n} images were queried"
    print(json.dumps({"fit": fit, "query": query, "loss": loss}))
