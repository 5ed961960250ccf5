"""Every objective on lists and on samples, as test_objectives_oracle has those on pairs: on random inputs, in plain arithmetic.

z are the answers' log-ratios, m means over tokens, y scores.
"""

import math
import random
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from models.objectives.batch import Batch, State
from models.objectives.catalogue import default_config
from models.objectives.list_registry import LISTS
from tests.models.test_objectives_oracle import T, ls, lse, mean

SAMPLES = ("grpo", "dr_grpo", "rloo", "pref_grpo", "pairwise_rl")


def better(x):
    return [(i, j) for i in range(x.k) for j in range(x.k) if x.y[i] > x.y[j]]


def swap(x, gain, rank):
    def discount(i):
        return 1 / math.log(1 + rank[i])

    return lambda i, j: abs(gain[i] - gain[j]) * abs(discount(i) - discount(j))


def place(key):
    return [1 + sum(other > own for other in key) for own in key]


def weighted_pairs(x, weight, beta):
    return sum(weight(i, j) * -ls(beta * (x.z[i] - x.z[j])) for i, j in better(x))


def pro(x, c):
    order, total = sorted(range(x.k), key=lambda i: -x.y[i]), 0.0
    for at, k in enumerate(order[:-1]):
        t = max(x.y[k] - x.y[j] for j in order[at + 1 :])
        total += lse([x.m[k] * t, *(x.m[j] * (x.y[k] - x.y[j]) for j in order[at + 1 :])]) - x.m[k] * t
    return total + c.sft_weight * (x.k - 1) ** 2 * -x.m[order[0]]


def plackett_luce(z):
    return sum(lse(z[k:]) - z[k] for k in range(len(z)))


def irpo(x, c):
    total = 0.0
    for i, rank in enumerate(place(x.y)):
        others = [math.exp(c.beta * (x.zm[j] - x.zm[i])) for j in range(x.k) if j != i]
        total += (2 ** x.y[i] - 1) / math.log2(1 + rank) * -ls(-math.log(mean(others)))
    return total / x.k


def distributions(x, c):
    def softmax(v):
        return [a - lse(v) for a in v]

    return softmax([c.beta * z for z in x.z]), softmax([y / c.temperature for y in x.y])


def ranklist(x, c):
    z = [x.z[i] for i in sorted(range(x.k), key=lambda i: -x.y[i])]
    return sum(-ls(c.beta * (z[i] - z[i + k])) / k for k in range(1, c.skip + 1) for i in range(len(z) - k))


def best(x):
    return max(range(x.k), key=lambda i: x.y[i])


def similarity(x, c):
    w = best(x)
    near = [j for j in range(x.k) if j != w and c.beta * x.z[j] > c.beta * x.z[w] - c.mining]
    return math.log1p(sum(math.exp(-c.sharpness * (c.beta * (x.z[w] - x.z[j]) - c.margin)) for j in near)) / c.sharpness


def exo(x, c):
    return sum(math.exp(p) * (p - q) for p, q in zip(*distributions(x, c), strict=True))


RANKED = {
    "all_pairs_dpo": lambda x, c: mean(-ls(c.beta * (x.z[i] - x.z[j])) for i, j in better(x)),
    "lipo": lambda x, c: weighted_pairs(x, swap(x, [2**y - 1 for y in x.y], place(x.z)), c.beta),
    "rankdpo": lambda x, c: weighted_pairs(x, swap(x, [2**y - 1 for y in x.y], place(x.y)), c.beta),
    "ranklist": ranklist,
    "plackett_luce": lambda x, c: plackett_luce([c.beta * x.z[i] for i in sorted(range(x.k), key=lambda i: -x.y[i])]),
    "s_dpo": lambda x, c: -ls(-lse([c.beta * (x.z[j] - x.z[best(x)]) for j in range(x.k) if j != best(x)])),
    "multi_similarity": similarity,
    "pro": pro,
    "irpo": irpo,
    "spo_degree": lambda x, c: (
        -ls(c.beta * (x.z[0] - x.z[1])) + c.weight * plackett_luce([c.beta * z for z in (x.z[0], *x.z[2:])]) / (x.k - 2)
    ),
    "exo_rw": exo,
    "infonca": lambda x, c: -sum(math.exp(q) * p for p, q in zip(*distributions(x, c), strict=True)),
}


@pytest.mark.parametrize("name", RANKED)
def test_losses_on_lists_equal_a_second_implementation(name):
    draw = random.Random(name)
    for k in (3, 4, 6):
        n = [draw.randint(1, 30) for _ in range(k)]
        ref = [-draw.uniform(1, 3) * t for t in n]
        z = [draw.gauss(0, 4) for _ in range(k)]
        y = [draw.random() for _ in range(k)]
        p = [a + b for a, b in zip(z, ref, strict=True)]
        x = SimpleNamespace(k=k, z=z, y=y, m=[a / t for a, t in zip(p, n, strict=True)])
        x.zm = [a / t for a, t in zip(z, n, strict=True)]
        logp, config = torch.tensor([p], dtype=torch.float64), default_config(name)
        b = Batch(
            logp, torch.tensor([n]), torch.tensor([[ref]], dtype=torch.float64), score=torch.tensor([y], dtype=torch.float64)
        )
        losses = LISTS[name](**config.parameters())(b, State())[0]
        assert losses.item() == pytest.approx(RANKED[name](x, config), rel=1e-9)


# The policy's own samples: by token, old and new policy, reference.


def clipped(ratio, advantage, clip):
    return -min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)


def advantages(y, name, wins):
    if name == "pref_grpo":
        y = [mean(w for j, w in enumerate(row) if j != i) for i, row in enumerate(wins)]
    if name == "pairwise_rl":
        return [v - 0.5 for v in y]
    if name == "rloo":
        return [v - mean(w for j, w in enumerate(y) if j != i) for i, v in enumerate(y)]
    away = [v - mean(y) for v in y]
    return away if name == "dr_grpo" else [a / (math.sqrt(sum(x * x for x in away) / (len(y) - 1)) + 1e-4) for a in away]


@pytest.mark.parametrize("name", SAMPLES)
def test_losses_on_samples_equal_a_second_implementation(name):
    draw, k, config = random.Random(name), 5, default_config(name)
    n = [draw.randint(1, T) for _ in range(k)]
    old = [[-draw.random() * 3 for _ in range(t)] for t in n]
    new, ref = ([[x + draw.gauss(0, 0.4) for x in row] for row in old] for _ in range(2))
    y, wins = [draw.random() for _ in range(k)], [[0.5] * k for _ in range(k)]
    for i, j in combinations(range(k), 2):
        wins[i][j] = draw.random()
        wins[j][i] = 1 - wins[i][j]
    losses = []
    for i, a in enumerate(advantages(y, name, wins)):
        if name == "rloo":
            losses.append(clipped(math.exp(sum(new[i]) - sum(old[i])), a, config.clip))
            continue
        tokens = [clipped(math.exp(p - o), a, config.clip) for p, o in zip(new[i], old[i], strict=True)]
        if name == "dr_grpo":
            losses.append(sum(tokens) / config.max_length)
            continue
        k3 = [math.exp(q - p) - (q - p) - 1 for p, q in zip(new[i], ref[i], strict=True)]
        losses.append(mean(t + config.kl_weight * d for t, d in zip(tokens, k3, strict=True)))
    mask = torch.arange(T) < torch.tensor(n)[:, None]

    def padded(rows):
        return torch.tensor([[*row, *[0.0] * (T - len(row))] for row in rows], dtype=torch.float64)[None]

    b = Batch(padded(new).sum(-1), torch.tensor([n]), padded(ref).sum(-1)[None], token_logp=padded(new), token_ref=padded(ref),
              token_old=padded(old), token_mask=mask[None], score=torch.tensor([y], dtype=torch.float64),
              win_prob=torch.tensor([wins], dtype=torch.float64))  # fmt: skip
    assert LISTS[name](**config.parameters())(b, State())[0].item() == pytest.approx(mean(losses), rel=1e-9)
