"""Which rules of a policy are ever reached, and which matches meet none: over all matches there can be. Pure.

To a rule, values that no rule names are all alike: one atom stands for them. So all matches are a box of finitely many
atoms, what a rule asks for is a box within it, and a rule is never reached where those before it leave nothing of its
own. That is searched for depth first: the first piece that no rule before takes is the proof that it is reached. Where
more than `MAX_BOXES` boxes would have to be held against another, that is not decided; a rule is never called
unreachable that some match can reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hashmatch.types import EXACT_DIGESTS
from hashmatch.workflow.policy import TRUST, Band, Policy, Rule

MAX_BOXES: Final = 100_000  # held against another, for one rule: about 0.1 s
MAX_BITS: Final = 256  # of any distance

Box = tuple[int, ...]
"""Of every axis, the atoms as bits of a number."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Distances, both included, of one hash type that no rule and no band tells apart. None: of any other type."""

    hash_type: str | None
    first: int
    last: int
    band: Band

    def __str__(self) -> str:
        name = "another hash type" if self.hash_type is None else self.hash_type
        span = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return name if self.band is Band.EXACT else f"{name} at distance {span}"


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether anything is left of a box by the rules before it.

    `example` is a piece that is left. `takers` are the rules that leave nothing; where there are none, no match is in
    the box.
    """

    reached: bool | None  # None: not decided
    takers: tuple[str, ...] = ()
    example: Box | None = None


class Space:
    """All the matches that the rules of a policy tell apart."""

    def __init__(self, policy: Policy) -> None:
        self._axes: dict[str, Sequence[str | None]] = {"trust": TRUST}
        for name in ("lists", "labels", "surfaces", "regions"):
            self._axes[name] = _atoms(value for rule in policy.rules for value in rule.when.get(name, ()))
        self._attributes: dict[str, Sequence[str | None]] = {
            name: _atoms(rule.attributes[name] for rule in policy.rules if name in rule.attributes)
            for name in sorted({name for rule in policy.rules for name in rule.attributes})
        }
        self._cells = tuple(_cells(policy))
        self.whole: Box = tuple((1 << n) - 1 for n in self._sizes())
        self.boxes = [self._box(rule) for rule in policy.rules]

    def _sizes(self) -> Iterator[int]:
        yield from map(len, self._axes.values())
        yield from map(len, self._attributes.values())
        yield len(self._cells)

    def _box(self, rule: Rule) -> Box:
        def asked(cell: Cell) -> bool:
            types, bands = rule.when.get("hash_types"), rule.when.get("bands")
            return (
                (types is None or cell.hash_type in types)
                and (bands is None or cell.band in bands)
                and (rule.max_distance is None or cell.first <= rule.max_distance)
            )

        masks = [
            _mask(rule.when.get(name) is None or atom in rule.when[name] for atom in atoms)
            for name, atoms in self._axes.items()
        ]
        masks += [
            _mask(name not in rule.attributes or atom == rule.attributes[name] for atom in atoms)
            for name, atoms in self._attributes.items()
        ]
        return (*masks, _mask(map(asked, self._cells)))

    def describe(self, box: Box) -> str:
        """A match within a box, in words: what tells it from others."""
        words = []
        axes = [*self._axes.items(), *self._attributes.items()]
        for (name, atoms), mask, whole in zip(axes, box, self.whole, strict=False):
            if mask != whole:
                atom = atoms[_lowest(mask)]
                words.append(f"{name} {'another' if atom is None else repr(atom)}")
        if box[-1] != self.whole[-1]:
            words.append(str(self._cells[_lowest(box[-1])]))
        return ", ".join(words) or "any"


def of_rules(policy: Policy, space: Space, *, limit: int = MAX_BOXES) -> list[Reach]:
    """Of every rule, in the policy's order, whether it is ever reached; `limit`: boxes for one rule."""
    return [_reach(policy, own, space.boxes[:number], limit) for number, own in enumerate(space.boxes)]


def of_the_rest(policy: Policy, space: Space, *, limit: int = MAX_BOXES) -> Reach:
    """Whether there are matches that meet no rule."""
    return _reach(policy, space.whole, space.boxes, limit)


def _reach(policy: Policy, own: Box, earlier: Sequence[Box], limit: int) -> Reach:
    if not all(own):
        return Reach(False)
    for number, box in enumerate(earlier):
        if all(mask & ~taken == 0 for mask, taken in zip(own, box, strict=True)):
            return Reach(False, (policy.rules[number].name,))
    left, held = [(own, 0)], 0
    cutters: set[int] = set()
    while left:
        box, number = left.pop()
        if number == len(earlier):
            return Reach(True, example=box)
        if (held := held + 1) > limit:
            return Reach(None)
        both = tuple(mask & taken for mask, taken in zip(box, earlier[number], strict=True))
        if not all(both):
            left.append((box, number + 1))
            continue
        cutters.add(number)
        for axis, (mask, shared) in enumerate(zip(box, both, strict=True)):
            if rest := mask & ~shared:
                left.append(((*both[:axis], rest, *box[axis + 1 :]), number + 1))
    return Reach(False, tuple(policy.rules[number].name for number in sorted(cutters)))


def _atoms(values: Iterable[str]) -> tuple[str | None, ...]:
    """Those named, and one for all others."""
    return (*sorted(set(values)), None)


def _cells(policy: Policy) -> Iterator[Cell]:
    named = {name for rule in policy.rules for name in rule.when.get("hash_types", ())} | set(policy.near)
    for name in sorted(EXACT_DIGESTS):
        yield Cell(name, 0, 0, Band.EXACT)
    limits = {rule.max_distance for rule in policy.rules if rule.max_distance is not None}
    for hash_type in (*sorted(named - EXACT_DIGESTS), None):
        near = policy.near.get(hash_type, 0) if hash_type is not None else 0
        starts = sorted(one for one in {0, near + 1, *(bits + 1 for bits in limits)} if one <= MAX_BITS)
        for first, following in zip(starts, [*starts[1:], MAX_BITS + 1], strict=True):
            yield Cell(hash_type, first, following - 1, Band.NEAR if first <= near else Band.FAR)


def _mask(asked: Iterable[bool]) -> int:
    return sum(1 << n for n, one in enumerate(asked) if one)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
