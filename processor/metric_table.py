"""Every metric of the worker, once: its name, kind, labels, help, and when to look at it.

Code, types and docs/metrics.md read this table; nothing else is served but what prometheus_client itself tells of the
process. Labels come from closed lists or from the cluster's own names, never from what a record holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from processor.errors import AbortCause, DeadLetterReason
from processor.metric import Group, Kind, Metric
from processor.model import IgnoreReason
from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
RECORDS: Final = (1.0, 10.0, 100.0, 1000.0, 5000.0, 10000.0, 20000.0, 50000.0)

COMMITTED: Final = "committed"
ABORTS: Final = {
    AbortCause.STALE_MEMBER: "A rebalance met the batch, or the group took this worker for gone. Normal when workers "
    "come and go; else see `rebalances_total` and `transaction.max_poll_interval_ms`.",
    AbortCause.UNAVAILABLE: "A broker, a leader or a coordinator was away, loading, or short of replicas. Look at the "
    "brokers.",
    AbortCause.TIMEOUT: "Something was not answered within the transaction's budget. Look at the brokers' load, and at "
    "`client_broker_rtt_seconds` of the producer.",
    AbortCause.FENCED: "The transaction outlived `transaction.timeout_ms`, and its coordinator had ended it: the "
    "worker stood still (frozen, swapped out, throttled).",
    AbortCause.REGISTRY: "The schema registry did not answer as it should; no transaction was begun.",
    AbortCause.REFUSED: "The broker refused a record as too large. The batch was taken apart; a record that is too "
    "large alone is a dead letter `unprocessable`.",
    AbortCause.STORE: "A local store could not be trusted; it is rebuilt, see `state_set_aside_total`.",
    AbortCause.TRANSIENT: "Anything else that passes; the log says what.",
}
"""What each cause means to whoever is on call."""
RESULTS: Final = (COMMITTED, *(f"aborted_{cause}" for cause in ABORTS))
REBALANCES: Final = ("assigned", "revoked", "lost")
RELOADS: Final = ("loaded", "refused")
Client = Literal["consumer", "producer", "changelog", "standby"]
CLIENT_ERRORS: Final = {
    "send": "requests that could not be sent",
    "receive": "responses that could not be read",
    "request_timeout": "requests that were not answered in time",
    "retry": "requests that were sent again",
    "disconnect": "connections that ended, idle ones that the broker closes included",
    "fetch": "errors that a consumer handed out in place of records",
}
COORDINATOR: Final = "coordinator"
"""`broker` of a client's own connection to the coordinator of its group or of its transactions."""


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


_CARRIER: Final = "the pack's carrier; `unknown` where no pack knows it"
_TOPIC: Final = "an assigned topic, raw or rekeyed"
_PARTITION: Final = "the partition's number"
_CLIENT: Final = (
    "`consumer` reads raw and rekeyed, `producer` writes everything, `changelog` restores state, `standby` follows "
    "other workers' state"
)

EVENTS: Final = Metric(
    name="events",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Events by carrier and outcome; the reason tells why one was ignored or dead-lettered.",
    look="First of all: throughput, and the share of `dead_lettered`. Forwarded events are counted again, under "
    "another outcome, by the worker that they go to.",
    labels={
        "carrier": _CARRIER,
        "outcome": _words(Outcome),
        "reason": f"of a dead letter {_words(DeadLetterReason)}; of an ignored event {_words(IgnoreReason)}; "
        "else empty",
    },
)
CHANGES: Final = Metric(
    name="changes",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Status changes published, by channel and the status they lead to.",
    look="What subscribers get. A status that falls to nothing while events go on is a carrier's or a pack's fault.",
    labels={"channel": "the channel", "status": "the canonical status"},
)
RECORDS_CONSUMED: Final = Metric(
    name="records",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Records consumed and committed.",
    look="Throughput as Kafka counts it: a record may hold no event, or many.",
)
UNMAPPED: Final = Metric(
    name="unmapped_events",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Dead-lettered events whose words no pack has a row for; `other` gathers what came after the first 200.",
    look="A carrier has new words: add rows to its pack, reload, replay the dead letters.",
    labels={
        "carrier": _CARRIER,
        "channel": "the carrier's word, numbers masked",
        "status": "the carrier's word, numbers masked",
        "error_code": "the carrier's code, numbers masked",
    },
)
TIMES_LEFT_OUT: Final = Metric(
    name="times_left_out",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Events whose time was no time or could not be true, by carrier; they count, without an occurred_at.",
    look="A carrier's clock or its time format is wrong; its pack may need another one.",
    labels={"carrier": _CARRIER},
)
PACK_RELOADS: Final = Metric(
    name="pack_reloads",
    kind=Kind.COUNTER,
    group=Group.EVENTS,
    help="Reloads of the carrier packs by how they ended.",
    look="After a reload: `refused` means that the old packs are still in force; the log says why.",
    labels={"result": _words(RELOADS)},
)
PACKS_LOADED: Final = Metric(
    name="packs_loaded",
    kind=Kind.GAUGE,
    group=Group.EVENTS,
    help="Carriers whose packs are in force.",
    look="All workers should say the same.",
)
END_TO_END: Final = Metric(
    name="end_to_end_delay_seconds",
    kind=Kind.HISTOGRAM,
    group=Group.TIME,
    help="From the time that the carrier gives for what happened to the commit of the change it caused.",
    look="What a customer waits for. Large while `event_age_seconds` is small: the carrier reports late. Its clock is "
    "the carrier's: a time that lies ahead counts as 0, and a change without one is not counted.",
    bounds=AGE_SECONDS,
)
EVENT_AGE: Final = Metric(
    name="event_age_seconds",
    kind=Kind.HISTOGRAM,
    group=Group.TIME,
    help="From an event's receipt at the edge to the commit of what became of it.",
    look="What this worker and the topic before it add. Rising: the worker falls behind, see `consumer_lag_records`.",
    bounds=AGE_SECONDS,
)
PROCESSING: Final = Metric(
    name="processing_seconds",
    kind=Kind.HISTOGRAM,
    group=Group.TIME,
    help="From the end of the poll that returned a record to the commit of its batch.",
    look="Time in the worker itself. Most of it is the transaction: compare `transaction_seconds`.",
    bounds=SECONDS,
)
TRANSACTION_SECONDS: Final = Metric(
    name="transaction_seconds",
    kind=Kind.HISTOGRAM,
    group=Group.TIME,
    help="From the begin of a transaction to its commit.",
    look="Rising alone: the brokers are slow. Near `transaction.timeout_ms` they will end transactions themselves.",
    bounds=SECONDS,
)
BATCH_RECORDS: Final = Metric(
    name="batch_records",
    kind=Kind.HISTOGRAM,
    group=Group.TIME,
    help="Records in a committed batch.",
    look="At `batch.records_max` all the time: the worker is at its limit. Small: it waits for input.",
    bounds=RECORDS,
)
LAG: Final = Metric(
    name="consumer_lag_records",
    kind=Kind.GAUGE,
    group=Group.INPUT,
    help="Records between the end of an assigned partition and the next one to process.",
    look="Growing: not enough workers, or one stands still. No row as long as the end is not known. Aborted and "
    "control records in between are counted until the worker has stepped over them.",
    labels={"topic": _TOPIC, "partition": _PARTITION},
)
OLDEST: Final = Metric(
    name="oldest_unprocessed_seconds",
    kind=Kind.GAUGE,
    group=Group.INPUT,
    help="Age of the oldest record of an assigned partition that is not processed, by its timestamp; 0 for none.",
    look="How late the worker is, in time; it rises as long as a partition stands still. Exact where the record has "
    "been read already, as when its batch goes back again and again. Else it is the most that it can be: the record "
    "came after the last one that was processed, and after the partition was last seen empty. Before the first batch "
    "of a new assignment it is the time since then, which is the least.",
    labels={"topic": _TOPIC, "partition": _PARTITION},
)
STALLED: Final = Metric(
    name="stalled_partitions",
    kind=Kind.GAUGE,
    group=Group.INPUT,
    help="Partitions being processed that have records left and have not moved for too long.",
    look="Not 0: this worker looks alive and is not. The log says what its batches go back for.",
)
ASSIGNED: Final = Metric(
    name="assigned_partitions",
    kind=Kind.GAUGE,
    group=Group.INPUT,
    help="Input partitions assigned, by whether they are being processed.",
    look="Their sum over all workers is the number of partitions. `waiting` for long: a restore, see `restore_ratio`.",
    labels={"state": "`running`, or `waiting` for its state or for a batch to go back"},
)
TRANSACTIONS: Final = Metric(
    name="transactions",
    kind=Kind.COUNTER,
    group=Group.TRANSACTIONS,
    help="Transactions by how they ended.",
    look="Some aborts at a rebalance are normal; a steady rate of them is not. An abort loses nothing: the batch goes "
    "back and is processed again.",
    labels={"result": f"`{COMMITTED}`, or `aborted_…` with the cause"},
)
REBALANCES_SEEN: Final = Metric(
    name="rebalances",
    kind=Kind.COUNTER,
    group=Group.TRANSACTIONS,
    help="Rebalance callbacks by kind.",
    look="Often, without deployments: workers come and go, or polls take too long. `lost`: the group gave this worker "
    "up before it could say a word.",
    labels={"kind": _words(REBALANCES)},
)
PRODUCERS: Final = Metric(
    name="producers_started",
    kind=Kind.COUNTER,
    group=Group.TRANSACTIONS,
    help="Transactional producers made: one at start, one after each doubtful connection.",
    look="Rising steadily: connections to the brokers fail.",
)
STATE_ENTRIES: Final = Metric(
    name="state_entries",
    kind=Kind.GAUGE,
    group=Group.STATE,
    help="Messages in the local state of a partition (RocksDB's estimate).",
    look="Capacity: it levels off after `state.retention`. One partition far above the others: keys are skewed.",
    labels={"partition": _PARTITION},
)
STATE_BYTES: Final = Metric(
    name="state_bytes",
    kind=Kind.GAUGE,
    group=Group.STATE,
    help="Size of the local state of a partition: RocksDB's table files, and what it has in memory for the next one.",
    look="Capacity: the disk that it takes, that of partitions being restored and of standbys included.",
    labels={"partition": _PARTITION},
)
RESTORE_RATIO: Final = Metric(
    name="restore_ratio",
    kind=Kind.GAUGE,
    group=Group.STATE,
    help="How far the restore of a partition is, from 0 to 1; gone when it is complete.",
    look="After a start or a rebalance. One that stands still: the changelog cannot be read, the log says why.",
    labels={"partition": _PARTITION},
)
RESTORE_REMAINING: Final = Metric(
    name="restore_remaining_records",
    kind=Kind.GAUGE,
    group=Group.STATE,
    help="Offsets of the changelog that the restore of a partition has still to read; gone when it is complete.",
    look="With its rate: how long a restore still takes. Offsets that compaction or control records took are passed "
    "over at once.",
    labels={"partition": _PARTITION},
)
RESTORED: Final = Metric(
    name="restored_records",
    kind=Kind.COUNTER,
    group=Group.STATE,
    help="Changelog records read to restore state.",
    look="How fast a restore goes. Large after each restart: the state directory is not kept.",
)
STANDBY_RECORDS: Final = Metric(
    name="standby_records",
    kind=Kind.COUNTER,
    group=Group.STATE,
    help="Changelog records read for replicas of other workers' state.",
    look="With `state.standbys`: that replicas follow at all.",
)
STANDBYS: Final = Metric(
    name="standby_partitions",
    kind=Kind.GAUGE,
    group=Group.STATE,
    help="Partitions of which a replica is kept.",
    look="With `state.standbys`: how many partitions this worker could take over quickly.",
)
PURGED: Final = Metric(
    name="state_purged",
    kind=Kind.COUNTER,
    group=Group.STATE,
    help="Entries of the local state deleted because they were too old.",
    look="After `state.retention` it should rise as fast as new messages come.",
)
SET_ASIDE: Final = Metric(
    name="state_set_aside",
    kind=Kind.COUNTER,
    group=Group.STATE,
    help="Local stores that could not be trusted and were rebuilt.",
    look="Not 0: a disk is failing, or a directory belongs to another cluster. Nothing is lost.",
)
BROKER_RTT: Final = Metric(
    name="client_broker_rtt_seconds",
    kind=Kind.SUMMARY,
    group=Group.CLIENTS,
    help="Time from a request to its response by broker; quantiles are those of the last interval of statistics.",
    look="Is it the network or the broker? Look at `producer` first: a consumer's fetch waits at the broker for new "
    "records, up to `fetch.wait.max.ms` (500 ms, 10 ms for `changelog`), which is no fault.",
    labels={"client": _CLIENT, "broker": f"the broker's node id; `{COORDINATOR}` for a connection to a coordinator"},
)
QUEUE_MESSAGES: Final = Metric(
    name="client_queue_messages",
    kind=Kind.GAUGE,
    group=Group.CLIENTS,
    help="Records in a client's queues: of the producer not delivered yet, of a consumer fetched and not taken yet.",
    look="A consumer's is full when the worker is the slow part, and empty when the brokers are.",
    labels={"client": _CLIENT},
)
QUEUE_BYTES: Final = Metric(
    name="client_queue_bytes",
    kind=Kind.GAUGE,
    group=Group.CLIENTS,
    help="Bytes of the records in a client's queues.",
    look="Memory: bounded by `queued.max.messages.kbytes` and `queue.buffering.max.kbytes`.",
    labels={"client": _CLIENT},
)
REQUESTS_PENDING: Final = Metric(
    name="client_requests_pending",
    kind=Kind.GAUGE,
    group=Group.CLIENTS,
    help="Requests of a client that wait to be sent or to be answered.",
    look="High and not falling: a broker answers slowly or not at all. A consumer always has a fetch at each broker.",
    labels={"client": _CLIENT},
)
BROKERS_CONNECTED: Final = Metric(
    name="client_brokers_connected",
    kind=Kind.GAUGE,
    group=Group.CLIENTS,
    help="Brokers to which a client has a connection that is up.",
    look="0: the client reaches nobody. A client connects only to the brokers that it needs.",
    labels={"client": _CLIENT},
)
CLIENT_ERRORS_SEEN: Final = Metric(
    name="client_errors",
    kind=Kind.COUNTER,
    group=Group.CLIENTS,
    help="Errors of a client's connections and requests, by kind; it goes on by itself.",
    look="Which side and which client fails: of `producer` these are errors of producing, of the others of fetching. "
    "A few at a rolling restart of the brokers are normal.",
    labels={"client": _CLIENT, "kind": "; ".join(f"`{word}`: {meaning}" for word, meaning in CLIENT_ERRORS.items())},
)
THROTTLED: Final = Metric(
    name="client_throttled_seconds",
    kind=Kind.COUNTER,
    group=Group.CLIENTS,
    help="Time for which brokers held a client's requests back because of a quota.",
    look="Rising: the principal's quota is too small for this load.",
    labels={"client": _CLIENT},
)
BUILD: Final = Metric(
    name="build",
    kind=Kind.INFO,
    group=Group.PROGRAM,
    help="The versions that run.",
    look="During an upgrade: which worker runs what.",
    labels={"version": "this program's version", "librdkafka": "the Kafka client's version"},
)

METRICS: Final = tuple(found for found in vars().copy().values() if isinstance(found, Metric))
"""The table, in the order of this file."""
