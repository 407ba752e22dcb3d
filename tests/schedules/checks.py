"""What must hold when a schedule has ended, reading committed records only."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from processor.books import Books, decode_books
from processor.codec import ChangeEncoder, decode_changes
from processor.control import AUDIT_PREFIX, Forgotten, decode_audit, decode_control
from processor.headers import headers_of, is_control
from processor.identity import identity_of, owner_of
from processor.model import StatusChange
from processor.outbox import Outbox
from processor.pipeline import Pipeline
from processor.reduce import advance
from processor.standby import standby_partitions
from processor.state_codec import decode_state
from processor.status import STATUSES_BY_RANK
from processor.testing import MemoryStates
from tests.schedules.clients import SimMessage
from tests.schedules.stand_ins import LOOSE, OWN, RAW, decoder, packs
from tests.schedules.world import Broken, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.model import StatusEvent
    from processor.outbox import States

_RANKS = {status.name: status.rank for status in STATUSES_BY_RANK}


def check(world: World) -> None:
    """Hold everything that a finished schedule left behind against the laws.

    Raises:
        Broken: One of them does not hold.
    """
    changes = _changes(world)
    _check_sequences(changes)
    _check_contents(world, changes)
    _check_forgotten(world, changes)
    _check_books(world, changes)
    _check_stores(world)
    _check_standbys(world)


def run_schedule(seed: int) -> World:
    """Run one schedule and check it.

    Raises:
        Broken: A law does not hold; the message has the seed and the last steps.
    """
    world = World(seed)
    try:
        try:
            world.run()
            check(world)
        finally:
            world.close()
    except Exception as error:
        steps = "\n".join(f"    {line}" for line in world.trace)
        raise Broken(
            f"seed {seed} ({world.profile}): {type(error).__name__}: {error}\n  {world.shape}\n"
            f"  the last steps:\n{steps}"
        ) from error
    return world


def _changes(world: World) -> dict[int, list[StatusChange]]:
    found: dict[int, list[StatusChange]] = {}
    for number in range(world.shape.partitions):
        values = [entry.value for _, entry in world.cluster.logs[OWN.changes, number].committed()]
        decoded = decode_changes(values)
        found[number] = [change for change in decoded if isinstance(change, StatusChange)]
    return found


def _check_sequences(changes: dict[int, list[StatusChange]]) -> None:
    """Each message's changes are 1, 2, 3 …, its status only rises, and no change comes twice.

    One that was forgotten begins anew; how often that may be is looked at with the requests.
    """
    seen: set[str] = set()
    for number, published in changes.items():
        last: dict[str, tuple[int, int]] = defaultdict(lambda: (0, -1))
        for change in published:
            sequence, rank = (0, -1) if change.sequence == 1 else last[change.message_id]
            _hold(change.sequence == sequence + 1, f"partition {number}: {change.message_id} jumps from {sequence}")
            rises = _RANKS[change.status] > rank
            _hold(rises, f"partition {number}: {change.message_id} falls to {change.status}")
            _hold(change.change_id not in seen, f"partition {number}: a change came twice")
            seen.add(change.change_id)
            last[change.message_id] = change.sequence, _RANKS[change.status]


def _check_contents(world: World, changes: dict[int, list[StatusChange]]) -> None:
    """Keyed input gives the very changes of a plain run, in order; forwarded input ends in the same statuses.

    When a message is forgotten is for the schedule to decide. So a plain run begins it anew wherever the worker did;
    whether that was right, the requests say. Forwarded events have no order, so there such messages are left out.
    """
    begins = {change.source[:3] for published in changes.values() for change in published if change.sequence == 1}
    outbox, states = _plain_run(world, begins)
    if not world.shape.loose:
        for number, published in changes.items():
            expected = decode_changes(ChangeEncoder().encode_changes(outbox.changes.get(number, [])))
            _hold(published == expected, f"partition {number}: {len(published)} changes, expected {len(expected)}")
    unsure = {forgotten.forget.message_id for _, forgotten in _audits(world)} if world.shape.loose else set()
    final = {
        change.message_id: change.status
        for published in changes.values()
        for change in published
        if change.message_id not in unsure
    }
    expected_final = {
        message_id: STATUSES_BY_RANK[state.status].name
        for held in states.values()
        for identity, state in held.items()
        if (message_id := identity.split("\0")[1]) not in unsure
    }
    _hold(final == expected_final, f"statuses at the end are {final}, expected {expected_final}")
    letters = sum(_count(world, OWN.dead_letter, number) for number in range(world.shape.partitions))
    _hold(letters == len(outbox.dead_letters), f"{letters} dead letters, expected {len(outbox.dead_letters)}")


def _plain_run(world: World, begins: set[tuple[str, int, int]]) -> tuple[Outbox, dict[int, MemoryStates]]:
    """Run the core over the raw partitions, one after the other, with forwarded events at once where they belong.

    Before each of the records in `begins` what is known of its message is forgotten.
    """
    pipeline = Pipeline(decoder(), packs(), world.shape.partitions)
    states = {number: MemoryStates() for number in range(world.shape.partitions)}
    outbox = Outbox()
    for (topic, number), log in world.cluster.logs.items():
        if topic not in {RAW, LOOSE}:
            continue
        own: States | None = states[number] if topic == RAW else None
        for offset, entry in log.committed():
            if (topic, number, offset) in begins and own is not None:
                own.drop(identity_of(None, "smpp", (entry.key or b"").decode(), ""))
            pipeline.process_raw(topic, number, [SimMessage((topic, number), offset, entry)], own, outbox)
    for forward in outbox.forwards:
        held = states[owner_of(forward.event.message_id, world.shape.partitions)]
        _merge(pipeline, held, forward.event)
    return outbox, states


def _merge(pipeline: Pipeline, held: MemoryStates, event: StatusEvent) -> None:
    state = held.get(event.identity)
    after, _ = advance(state, event, 0, pipeline.replies_max)
    held.put(event.identity, after)


def _check_forgotten(world: World, changes: dict[int, list[StatusChange]]) -> None:
    """Every request was carried out once, each that found something ended one life of its message, and nothing else."""
    asked = {
        decode_control(message, headers_of(message)).request
        for number in range(world.shape.partitions)
        for message in _committed(world, OWN.rekeyed, number)
        if is_control(message)
    }
    audits = _audits(world)
    done = [forgotten.forget.request for _, forgotten in audits]
    _hold(sorted(done) == sorted(asked), f"{len(done)} requests were carried out, {len(asked)} were made")
    lives: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for change in (change for published in changes.values() for change in published):
        ended = lives[change.message_id]
        ended[len(ended) - (change.sequence > 1) :] = [(str(change.status), change.sequence)]
    ends: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for _, (forget, status, sequence) in audits:
        if status is not None:
            ends[forget.message_id].append((status, sequence))
    for number in range(world.shape.partitions):
        for key, value in _folded(world, number).items():
            if not key.startswith(AUDIT_PREFIX):
                state = decode_state(value)
                ends[key.decode().split("\0")[1]].append((STATUSES_BY_RANK[state.status].name, state.sequence))
    _hold(lives == ends, f"messages lived {dict(lives)}, and what was forgotten and is known is {dict(ends)}")


def _audits(world: World) -> list[tuple[int, Forgotten]]:
    """List the requests that were carried out, by partition, in the order of the changelog."""
    return [
        (number, forgotten)
        for number in range(world.shape.partitions)
        for message in _committed(world, OWN.state, number)
        if (message.key() or b"").startswith(AUDIT_PREFIX)
        and (forgotten := decode_audit(message.value() or b"")) is not None
    ]


def _committed(world: World, topic: str, number: int) -> Iterator[SimMessage]:
    for offset, entry in world.cluster.logs[topic, number].committed():
        yield SimMessage((topic, number), offset, entry)


def _folded(world: World, number: int, end: int | None = None) -> dict[bytes, bytes]:
    """Return what a changelog partition says, up to an offset."""
    last = {
        message.key() or b"": message.value()
        for message in _committed(world, OWN.state, number)
        if end is None or message.offset() < end
    }
    return {key: value for key, value in last.items() if value is not None}


def _check_books(world: World, changes: dict[int, list[StatusChange]]) -> None:
    """The durable books are those of exactly the records there are, and agree with what is in the topics."""
    total: Counter[str] = Counter()
    for topic in (*world.raw, OWN.rekeyed):
        for number in range(world.cluster.topics[topic]):
            records = _count(world, topic, number)
            _hold((topic, number) in world.cluster.offsets, f"nothing says where {topic}[{number}] begins")
            books = _books(world, topic, number)
            _hold(books.balanced, f"the books of {topic}[{number}] do not balance")
            _hold(books.records == records, f"the books of {topic}[{number}] say {books.records} of {records} records")
            total.update(books.outcomes)
    published = sum(map(len, changes.values()))
    rekeyed = [m for number in range(world.shape.partitions) for m in _committed(world, OWN.rekeyed, number)]
    controls = sum(map(is_control, rekeyed))
    letters = sum(_count(world, OWN.dead_letter, number) for number in range(world.shape.partitions))
    expected = {
        "published": published,
        "forwarded": len(rekeyed) - controls,
        "ignored": controls,
        "dead_lettered": letters,
    }
    for outcome, count in expected.items():
        _hold(total[outcome] == count, f"the books say {total[outcome]} {outcome}, the topics {count}")


def _check_stores(world: World) -> None:
    """A store is the fold of what its changelog committed up to the offset that it has."""
    for process in world.processes:
        worker = process.worker
        for number, store in worker.assignment.ready.items() if worker is not None else ():
            folded = _folded(world, number, store.offset)
            held = {key: value[4:] for key, value in store._db.items() if key != b"\0meta"}
            _hold(held == folded, f"the store of partition {number} is not what its changelog says")
            end = max((offset for offset, _ in world.cluster.logs[OWN.state, number].committed()), default=-1)
            _hold(store.offset > end, f"the store of partition {number} is behind its changelog")


def _check_standbys(world: World) -> None:
    """Every worker follows the neighbours of what it owns, and nothing else is open."""
    for process in world.processes:
        assert process.worker is not None
        assignment = process.worker.assignment
        own = {number for topic, number in assignment.inputs if topic == OWN.rekeyed}
        wanted = standby_partitions(own, world.shape.partitions, world.shape.standbys)
        followed = set(assignment.standbys.followed)
        _hold(followed == wanted, f"worker {process.ordinal} follows {followed} instead of {wanted}")
        _hold(set(assignment.stores.opened) == own | wanted, f"worker {process.ordinal} has other stores open")


def _books(world: World, topic: str, number: int) -> Books:
    _, metadata = world.cluster.offsets.get((topic, number), (0, ""))
    return decode_books(metadata) or Books()


def _count(world: World, topic: str, number: int) -> int:
    return sum(1 for _ in world.cluster.logs[topic, number].committed())


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
