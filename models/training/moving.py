"""A reference that follows the policy while it is trained: TR-DPO's soft update (arXiv 2404.09656) and Curry-DPO's stages.

The reference keeps weights of its own, and once it has moved, each batch's reference log-probabilities are computed with them
anew: numbers from before the move would belong to another model.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from models.training import team
from models.training.gradient import Given
from models.training.logps import all_tree_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MovingReference:
    """Starts as `model`, which is its own from then on. Before step s (from 0) it becomes `moves[s]` policy + (1 - `moves[s]`)
    itself. Where the policy is split over a team, `model` is split alike, and each process moves its own part."""

    def __init__(self, model: "PreTrainedModel", moves: Mapping[int, float], tokens: int, accelerator: Accelerator) -> None:
        self._model = model.requires_grad_(False)
        self._moves, self._tokens, self._accelerator = moves, tokens, accelerator

    def before(self, step: int, policy: torch.nn.Module, given: Given, indices: list[int]) -> Given:
        """`given` as the reference of this step sees the examples `indices`."""
        if step in self._moves:
            self._follow(policy, self._moves[step])
        if not any(s <= step for s in self._moves):
            return given
        refs = given.refs.clone()
        refs[0, indices], tokens = self._logps([given.examples[i] for i in indices])
        by_token = dict(given.by_token)
        if "token_ref" in by_token:
            by_token["token_ref"] = list(by_token["token_ref"])
            for i, values in zip(indices, tokens, strict=True):
                by_token["token_ref"][i] = values
        aux = {}
        for name, (examples, ref) in given.aux.items():
            aux[name] = (examples, ref.clone())
            aux[name][1][indices] = self._logps([examples[i] for i in indices])[0]
        return replace(given, refs=refs, by_token=by_token, aux=aux)

    def parts(self) -> dict[str, Tensor]:
        """This process's part of each weight, by name, tied weights once."""
        return dict(self._model.named_parameters())

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        for name, p in self._model.named_parameters():
            p.copy_(team.split_like(weights[name], p))

    def _logps(self, examples: list) -> tuple[Tensor, list[Tensor]]:  # type: ignore[type-arg]
        with self._accelerator.autocast():
            return all_tree_logps(self._model, examples, self._tokens)

    @torch.no_grad()
    def _follow(self, policy: torch.nn.Module, rate: float) -> None:
        trained = dict(self._accelerator.unwrap_model(policy).named_parameters())
        for name, p in self._model.named_parameters():
            own = team.part(p)
            own.lerp_(team.part(trained[name]).to(own), rate)
