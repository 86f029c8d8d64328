"""The lock of a sweep in an object store: a lease, an object that its holder renews.

It is stale once it has not been renewed for a minute, or at once if its holder was a process of this machine that is no
more. Every driver renews an object of its own, so one that was stopped for long cannot write over the lease of the
driver that followed: the newest generation has the sweep.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kdtrain.errors import InputError
from sweeps.store.file_lock import refusal, taken_over
from sweeps.store.generations import CLAIMS, claim_key, claims, mark, newest
from sweeps.store.holder import HELD, Holder, is_dead, machine, named, ourselves, parse_holder, unknown_holder
from sweeps.store.store import Store

EARLIER = "ledger/lease.json"
"""The lease of an earlier version, one object for all drivers."""


@dataclass(frozen=True)
class Times:
    """How a lease is kept, in seconds; every driver of a sweep must have the same.

    Attributes:
        renew: Between two renewals.
        stale: After so long a silence its holder is dead.
        settle: Long enough for two drivers that write a lease at the same moment to see which one stayed.
        poll: Between two looks at the lease of another.
        verify: After so long the holder looks for newer leases before it writes.
    """

    renew: float = 10.0
    stale: float = 60.0
    settle: float = 1.0
    poll: float = 2.0
    verify: float = 1.0


TIMES = Times()


class Lease:
    """A lock in an object store; see `sweeps.store.lock.Lock`. A thread renews it.

    Raises:
        InputError: If another driver holds it.
        StorageError: If the store cannot be written.
    """

    def __init__(self, store: Store, notice: Callable[[str], None], times: Times) -> None:
        self._store, self._times, self._token = store, times, secrets.token_hex(8)
        self._lost, self._ended = False, threading.Event()
        before = _keys(store)
        for key in before:
            if (lease := _read(store, key)) is not None:
                _await_end(store, key, lease, notice, times)
        self.generation = newest(store) + 1
        self.mark = mark(self.generation, self._token)
        self._key = claim_key(self.mark)
        HELD.add(self._token)
        try:
            self._write(store, held=False)
            time.sleep(times.settle)
            if (rival := self._rival(set(before))) is not None:
                store.delete(self._key)
                raise refusal(store, rival)
            self._write(store)
        except BaseException:
            HELD.discard(self._token)
            raise
        for key in before:
            store.delete(key)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that there is no newer lease, by a look at the store if the last one was a moment ago.

        Raises:
            InputError: If there is.
        """
        if not self._lost and _elapsed(self._renewed) > self._times.stale / 2:
            self._renew(self._store)
        elif not self._lost and _elapsed(self._verified) > self._times.verify:
            self._verify(self._store)
        if self._lost:
            raise taken_over(self._store)

    def close(self) -> None:
        """Let another driver have it."""
        self._ended.set()
        HELD.discard(self._token)
        self._thread.join(self._times.renew)
        with contextlib.suppress(InputError):
            self._store.delete(self._key)

    def _rival(self, dead: set[str]) -> Holder | None:
        """Another driver that opens the sweep at the same moment, and goes first."""
        for key, generation in _keys(self._store).items():
            if key in dead or key == self._key or (lease := _read(self._store, key)) is None:
                continue
            goes_first = lease["held"] or lease["token"] < self._token
            if generation > self.generation or (generation == self.generation and goes_first):
                return lease
        return None

    def _keep(self) -> None:
        quiet = Store(str(self._store), self._times.renew, answered=True)  # commits report when the store is away
        quiet.gives_up = self._ended.is_set
        while not self._lost and not self._ended.wait(self._times.renew):
            with contextlib.suppress(InputError):
                self._renew(quiet)

    def _renew(self, store: Store) -> None:
        self._verify(store)
        if not self._lost:
            self._write(store)

    def _verify(self, store: Store) -> None:
        at = _clocks()
        others = {key: generation for key, generation in _keys(store).items() if key != self._key}
        self._lost = self._lost or any(generation >= self.generation for generation in others.values())
        self._verified = at

    def _write(self, store: Store, held: bool = True) -> None:
        store.write(self._key, json.dumps(ourselves(self._token, held)).encode())
        self._renewed = self._verified = _clocks()


def is_leased(store: Store) -> bool:
    """Whether a driver seems to hold a lease of a sweep; of one of another machine, by its age."""
    leases = ((key, _read(store, key)) for key in _keys(store))
    return any(lease is not None and not is_dead(lease) and _is_fresh(store, key, TIMES) for key, lease in leases)


def _keys(store: Store) -> dict[str, int]:
    """The leases of a sweep with their generations, newest first."""
    keys = {f"{CLAIMS}/{name}": generation for name, generation in claims(store.names(CLAIMS)).items()}
    return keys | ({EARLIER: 0} if store.exists(EARLIER) else {})


def _read(store: Store, key: str) -> Holder | None:
    try:
        content = store.read(key)
    except FileNotFoundError:
        return None
    return parse_holder(content) or unknown_holder()


def _await_end(store: Store, key: str, lease: Holder, notice: Callable[[str], None], times: Times) -> None:
    """Return once the holder of a lease must be dead: a process of this machine that is gone, or long silent.

    Raises:
        InputError: If it is alive.
    """
    if not is_dead(lease):
        if lease["machine"] == machine() and _is_fresh(store, key, times):
            raise refusal(store, lease)
        notice(f"there is the lease of a driver {named(lease)}: waiting up to {times.stale:.0f} s to see if it lives")
    seen, silent_since = store.written_at(key), time.monotonic()
    while not is_dead(lease) and time.monotonic() - silent_since < times.stale:
        time.sleep(times.poll)
        look_began = time.monotonic()
        now = store.written_at(key)
        if now is None:
            return
        if now != seen:
            raise refusal(store, lease)
        if time.monotonic() - look_began > times.renew:  # the store was away, for the lease's holder too
            silent_since = time.monotonic()
    notice(f"the driver {named(lease)} died without giving its lease back: it is taken over")


def _is_fresh(store: Store, key: str, times: Times) -> bool:
    """Whether a lease was renewed of late, if the store's clock is right."""
    renewed = store.written_at(key)
    return renewed is not None and time.time() - renewed < times.stale


def _clocks() -> tuple[float, ...]:
    """The time by every clock: one stands still while the machine sleeps, another is set by hand."""
    asleep_too = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time(), time.monotonic(), 0.0 if asleep_too is None else time.clock_gettime(asleep_too)


def _elapsed(since: tuple[float, ...]) -> float:
    """Seconds since then, by the clock that has moved most."""
    return max(abs(now - then) for now, then in zip(_clocks(), since, strict=True))
