"""All answers to a prompt as one prefix tree: the prompt and whatever several answers begin with appear once. Imports no torch.

The tokens of a tree lie in depth-first order, so that a token's descendants follow it without a gap. One number a token then says
all about attention: token j is visible from token i iff j <= i < until[j]. Trees side by side are kept apart by the same rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.training.data import Example, Ids, shared_beginning


@dataclass(frozen=True)
class Tree:
    """One example's tokens; every list but `paths` has one entry a token."""

    ids: Ids = field(default_factory=list)
    depth: Ids = field(default_factory=list)  # position in the token's own sequence
    parent: Ids = field(default_factory=list)  # the token before it, whose output predicts it; -1 for the first
    until: Ids = field(default_factory=list)  # one past its last descendant
    segments: list[tuple[int, int, int]] = field(default_factory=list)  # unbranched stretches: begin, end, parent (-1: none)
    paths: tuple[Ids, ...] = ()  # of each answer: its tokens' places in this tree, less those it skips
    prompt: int = 0  # tokens of the prompt: the answers' begin behind them


def plant(example: Example) -> Tree:
    """The trie of the example's K sequences. Linear in the tokens for a given K; an empty answer has an empty path."""
    answers = example.answers
    tree = Tree(paths=tuple([] for _ in answers), prompt=len(example.prompt))

    def grow(segment: Ids, members: Sequence[int], taken: int, parent: int, above: int) -> None:
        """`segment` and everything below it; `members` are the answers through it, `taken` their tokens up to its end.

        It hangs on the token `parent`, the last of the segment `above`.
        """
        start, depth = len(tree.ids), tree.depth[parent] + 1 if parent >= 0 else 0
        end, here = start + len(segment), len(tree.segments)
        tree.segments.append((start, end, above))
        tree.ids.extend(segment)
        tree.depth.extend(range(depth, depth + len(segment)))
        tree.parent.extend([parent, *range(start, end - 1)])
        tree.until.extend([0] * len(segment))
        if start:  # below the prompt
            for k in members:
                tree.paths[k].extend(range(start, end))
        branches: dict[int, list[int]] = {}
        for k in members:
            if taken < len(answers[k]):
                branches.setdefault(answers[k][taken], []).append(k)
        for branch in branches.values():
            rests = [answers[k][taken:] for k in branch]
            shared = shared_beginning(min(rests), max(rests))
            grow(rests[0][:shared], branch, taken + shared, end - 1, here)
        tree.until[start:end] = [len(tree.ids)] * len(segment)

    grow(example.prompt, range(len(answers)), 0, -1, -1)
    for path, skipped in zip(tree.paths, example.skip, strict=False):
        del path[:skipped]
    return tree


@dataclass(frozen=True)
class Row:
    """Several trees one after another, without padding, cut into `pieces` for attention: one sees only what its `keys` name."""

    trees: list[Tree]
    starts: list[int]  # of each tree in the row
    pieces: list[int]  # tokens in each piece
    keys: list[list[int]]  # of each piece: those that it sees into, above it in its own tree, and last itself


def lay(trees: Sequence[Tree], block: int, twig: int = 0) -> Row:
    """One row of all trees in the given order. Neighbours share a piece up to `block` tokens together; a longer tree is cut where
    it branches, but for whatever holds no more than `twig` tokens.

    Attention costs a piece's length times what it sees, and a piece more is a kernel more to start.
    """
    starts: list[int] = []
    pieces: list[int] = []
    keys: list[list[int]] = []
    at, shared = 0, False  # whether the last piece takes further trees
    for tree in trees:
        size = len(tree.ids)
        starts.append(at)
        at += size
        if size > block:
            of: dict[int, int] = {}  # segment to piece
            done = 0
            for number, (start, end, above) in enumerate(tree.segments):
                if start < done:
                    continue  # within the twig before it
                done = tree.until[start] if tree.until[start] - start <= twig else end
                of[number] = len(pieces)
                keys.append([*(keys[of[above]] if above >= 0 else []), len(pieces)])
                pieces.append(done - start)
        elif shared and pieces[-1] + size <= block:
            pieces[-1] += size
        else:
            keys.append([len(pieces)])
            pieces.append(size)
        shared = size <= block
    return Row(list(trees), starts, pieces, keys)
