"""What a run has computed and needs again: not remembered, it would be computed again, to the same bits."""

import torch
from torch import Tensor

from .networks.classifier import Classifier, Head
from .predicting import trunk_outputs

State = dict[str, Tensor]


class Outputs:
    """What a trunk made of images, to be indexed as the images are."""

    def __init__(self, outputs_N: Tensor):
        self._outputs_N = outputs_N

    def __len__(self) -> int:
        return len(self._outputs_N)

    @property
    def shape(self) -> torch.Size:
        """`[N, …]`."""
        return self._outputs_N.shape

    def __getitem__(self, index) -> Tensor:
        return self._outputs_N[index]

    def take(self, index: Tensor) -> Tensor:
        return self._outputs_N[index]


class Known:
    """The outputs of frozen trunks for whole data sets, and the weights of the last network trained."""

    def __init__(self) -> None:
        self._outputs: list[tuple[object, Tensor, Outputs]] = []
        self._weights: tuple[object, State] | None = None

    def behind_trunk(self, model: Classifier, images) -> tuple[Classifier, Outputs]:
        """A network with a frozen trunk from its head on, and what the trunk makes of the images: computed once per trunk."""
        first = torch.arange(min(8, len(images)), device=images.pixels.device)
        says = trunk_outputs(model, images, first)  # by which a trunk is known: each round builds its network anew
        for known_images, said, outputs in self._outputs:
            if known_images is images and torch.equal(said, says):
                return Head(model), outputs
        outputs = Outputs(trunk_outputs(model, images))
        others = [known for known in self._outputs if known[0] is not images]
        self._outputs = [*others, (images, says, outputs)]
        return Head(model), outputs

    def keep_weights(self, key: object, model: Classifier) -> None:
        """Remember the weights of the network that `key` fixes, and forget any other's."""
        self._weights = key, {name: values.clone() for name, values in model.state_dict().items()}

    def weights(self, key: object) -> State | None:
        """The weights that were kept for `key`."""
        return self._weights[1] if self._weights and self._weights[0] == key else None
