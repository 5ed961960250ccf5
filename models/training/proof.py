"""Whether an architecture can be trained here, tried before a run spends anything.

The trainer lays many sequences into one row (tree.py). What looks at its neighbours by other means than an attention that is told
otherwise would mix them without a word: recurrence, convolution, linear attention. No list of names would stay complete, so it is
tried: a small random model of the checkpoint's own configuration must give a row what it gives each sequence by itself.
"""

import copy
import logging
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from data_contracts.errors import PlumblineError
from models.training.data import Example
from models.training.logps import verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
TOLERANCE = 1e-4  # nats a token, as in training (loop.py); what mixes is off by a hundred times as much
WINDOW, VOCABULARY, INNER, EXPERTS = 8, 256, 64, 16  # so that sequences outgrow windows, and the rest costs little
LAYERS = range(2, 9)  # tried; one of each kind
WEIGHTS = 400_000_000  # more would take longer than a few seconds: only training itself then tells


def prove(path: Path) -> None:
    """Raises PlumblineError if the architecture in the folder `path` gives sequences side by side other log-probabilities than
    each by itself. Says nothing where no small model of it can be made: training compares again, with the weights."""
    try:
        model = miniature(path)
        if model is not None:
            model(input_ids=torch.tensor([_examples()[0].prompt]), use_cache=False)
    except Exception as error:  # whatever a configuration may hold, and its class make of other sizes
        log.info("nothing proven about %s: %s", path, error)
        return
    if model is None:
        return
    try:
        verify(model, _examples(), TOLERANCE)
    except PlumblineError:
        raise
    except Exception as error:  # whatever an architecture says of a row it does not expect
        log.exception("the row fails")
        raise PlumblineError(
            f"{type(model).__name__} in {path} cannot be trained here: it takes no row of several sequences ({error}); "
            "docs/models.md says what can be trained"
        ) from None


def miniature(path: Path) -> "PreTrainedModel | None":
    """A random model with the attention of the one in `path`, each kind of its layers, narrow MLPs and a small vocabulary; None
    if it is still large. Every weight matters to the logits, as at no beginning of training."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = _shrunk(AutoConfig.from_pretrained(path, trust_remote_code=False).get_text_config())
    # the attention that knows all that an architecture may ask for
    with torch.device("meta"):
        count = sum(p.numel() for p in AutoModelForCausalLM.from_config(copy.deepcopy(config)).parameters())
    if count > WEIGHTS:
        log.info("nothing proven about %s: its layers alone have %d weights", path, count)
        return None
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=draw)
            p.copy_(noise * p.shape[-1] ** -0.5 if p.dim() > 1 else p + 0.2 * noise)
    return model


def _shrunk(config: Any) -> Any:
    config = copy.deepcopy(config)
    depth = config.num_hidden_layers
    by_layer = {k: v for k, v in vars(config).items() if isinstance(v, list) and len(v) == depth}
    kinds = [repr([v[i] for v in by_layer.values()]) for i in range(depth)]
    wanted = 1 + max((kinds.index(kind) for kind in set(kinds)), default=0)
    layers = min(depth, max(LAYERS[0], min(wanted, LAYERS[-1])))
    config.num_hidden_layers = layers
    for name, values in by_layer.items():
        setattr(config, name, values[:layers])
    for name, value in list(vars(config).items()):
        if isinstance(value, int) and not isinstance(value, bool):
            if name.endswith("intermediate_size") or name in ("ffn_dim", "n_inner"):
                setattr(config, name, min(value, INNER))
            elif name.startswith("vocab_size"):
                setattr(config, name, min(value, VOCABULARY))
            elif name.endswith(("num_experts", "local_experts", "routed_experts")):
                setattr(config, name, min(value, EXPERTS))
            elif name == "sliding_window":
                setattr(config, name, min(value, WINDOW))
            elif name.endswith("_token_id"):
                setattr(config, name, 0)
    return config


def _examples() -> list[Example]:
    """Two trees, each of a prompt and two answers that begin alike; sequences of unequal length, longer than the window."""
    draw = random.Random(0)

    def ids(count: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(count)]

    found = []
    for name, (prompt, shared, one, other) in {"first": (11, 4, 9, 14), "second": (6, 2, 17, 3)}.items():
        both = ids(shared)
        found.append(Example(f"{name} probe", ids(prompt), (both + ids(one), both + ids(other))))
    return found
