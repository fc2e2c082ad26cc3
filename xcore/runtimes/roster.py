"""Who lives and who ended: the instances of one plugin, compared from one look to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xcore.runtimes.life import Life
from xcore.workload import Exit, Instance


class Roster:
    """Keeps a `Life` for each living instance and tells every end once."""

    def __init__(self) -> None:
        self._lives: dict[str, Life] = {}
        self._told: set[str] | None = None  # ended instances whose end was told
        self._discard: set[str] = set()  # those that ended as planned: nobody looks for their logs

    def __iter__(self) -> Iterator[Life]:
        return iter(list(self._lives.values()))

    def __getitem__(self, instance: str) -> Life:
        return self._lives[instance]

    def adopt(self, instance: Instance, since: float | None = None) -> Life:
        life = self._lives.setdefault(instance.id, Life(instance, since))
        life.instance = instance
        return life

    def take(self, found: Sequence[Instance], last: Exit | None) -> list[tuple[Life, Instance]]:
        """Take note of a look; returns the ends that nobody planned and nobody was told of.

        `last` is the end that was known last, by an earlier controller perhaps.
        """
        ended = {i.id: i for i in found if i.exit is not None}
        alive = [i for i in found if i.exit is None]
        first, told = self._told is None, self._told
        if told is None:
            told = _before_our_time(ended, alive, last)
        for instance in alive:
            self.adopt(instance, instance.started_at if first else None)
        living = {instance.id for instance in alive}
        over = [self._lives.pop(life.instance.id) for life in self if life.instance.id not in living]
        self._discard |= {life.instance.id for life in over if life.planned}
        ends = [(life, ended.get(life.instance.id, life.instance)) for life in over if not life.planned]
        # Started and ended between two looks, or while nobody looked.
        known = told | {life.instance.id for life in over}
        unseen = [instance for instance in ended.values() if instance.id not in known]
        ends += [(Life(i, i.started_at if first else None), i) for i in unseen]
        self._told = set(ended)
        self._discard &= set(ended)
        for life in over:
            life.unprobe()
        return ends

    def discarded(self, found: Sequence[Instance]) -> list[Instance]:
        return [i for i in found if i.id in self._discard]

    def seen(self, found: Sequence[Instance]) -> list[Instance]:
        """Give what was found as the probes know it, without what is to be discarded."""
        return [
            i if i.exit is not None else self._lives[i.id].seen() for i in found if i.id not in self._discard
        ]


def _before_our_time(ended: dict[str, Instance], alive: Sequence[Instance], last: Exit | None) -> set[str]:
    """Tell which ends an earlier controller judged: all but a last one that it did not live to see."""
    newest = max(ended.values(), key=lambda i: (i.started_at, i.id), default=None)
    if newest is None or newest.exit is None or alive or (last is not None and newest.exit.at <= last.at):
        return set(ended)
    return set(ended) - {newest.id}
