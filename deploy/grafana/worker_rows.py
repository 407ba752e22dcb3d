"""What lies below: partitions, transactions, state, Kafka clients, processes."""

from __future__ import annotations

from typing import Final

from deploy.grafana.expressions import ABORTED, COMMITTED, OTHERS, PRODUCER, every, process, rate
from deploy.grafana.panels import Panel, Row

PARTITIONS: Final = Row(
    "Partitions",
    (
        Panel(
            title="Records left, the 20 partitions with the most",
            width=12,
            queries=(
                (f"topk(20, max by (topic, partition) ({every('consumer_lag_records')}))", "{{topic}}[{{partition}}]"),
            ),
            alerts=("LagGrowing",),
        ),
        Panel(
            title="Oldest record left, the 20 latest partitions",
            unit="s",
            width=12,
            steps=((None, "green"), (300, "orange"), (3600, "red")),
            queries=(
                (
                    f"topk(20, max by (topic, partition) ({every('oldest_unprocessed_seconds')}))",
                    "{{topic}}[{{partition}}]",
                ),
            ),
            alerts=("InputLate", "InputVeryLate"),
        ),
        Panel(
            title="Partitions by worker",
            unit="none",
            stacked=True,
            queries=((every("assigned_partitions"), "{{instance}} {{state}}"),),
            alerts=("PartitionsUnowned", "PartitionsWaiting"),
        ),
        Panel(
            title="Messages in the state",
            queries=((f"max by (partition) ({every('state_entries')})", "{{partition}}"),),
        ),
        Panel(
            title="Size of the state by worker",
            unit="bytes",
            queries=((f"sum by (instance) ({every('state_bytes')})", "{{instance}}"),),
            alerts=("StateGrowing",),
        ),
    ),
)

TRANSACTIONS: Final = Row(
    "Transactions and rebalances",
    (
        Panel(
            title="Transactions committed",
            unit="cps",
            queries=((rate("transactions_total", "instance", COMMITTED), "{{instance}}"),),
        ),
        Panel(
            title="Transactions aborted, 10 minutes",
            unit="none",
            stacked=True,
            queries=((f"sum by (result) (increase({every('transactions_total', ABORTED)}[10m]))", "{{result}}"),),
            alerts=("TransactionAborts",),
        ),
        Panel(
            title="Rebalances and new producers, 10 minutes",
            unit="none",
            queries=(
                (f"sum by (kind) (increase({every('rebalances_total')}[10m]))", "{{kind}}"),
                (f"sum(increase({every('producers_started_total')}[10m]))", "new producers"),
            ),
            alerts=("RebalancesOften", "ProducersRestarted"),
        ),
    ),
)

STATE: Final = Row(
    "Restore and standbys",
    (
        Panel(
            title="How far restores are",
            unit="percentunit",
            most=1,
            queries=((every("restore_ratio"), "{{instance}} {{partition}}"),),
            note="Empty where nothing is being restored.",
            alerts=("RestoreStuck",),
        ),
        Panel(
            title="Offsets that restores have left",
            queries=((every("restore_remaining_records"), "{{instance}} {{partition}}"),),
            note="Empty where nothing is being restored.",
            alerts=("RestoreStuck",),
        ),
        Panel(
            title="Changelog records read",
            unit="cps",
            queries=(
                (rate("restored_records_total", "instance"), "{{instance}} restores"),
                (rate("standby_records_total", "instance"), "{{instance}} standbys"),
            ),
        ),
        Panel(
            title="Standbys by worker",
            unit="none",
            queries=((every("standby_partitions"), "{{instance}}"),),
        ),
        Panel(
            title="Entries purged",
            unit="cps",
            queries=((rate("state_purged_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            title="Stores set aside, since the workers' start",
            unit="none",
            steps=((None, "green"), (1, "red")),
            queries=((every("state_set_aside_total"), "{{instance}}"),),
            alerts=("StateSetAside",),
        ),
    ),
)

CLIENTS: Final = Row(
    "Kafka clients",
    (
        Panel(
            title="Round trips of the producer",
            unit="s",
            width=12,
            steps=((None, "green"), (1, "red")),
            queries=((every("client_broker_rtt_seconds", PRODUCER), "{{instance}} {{broker}} {{quantile}}"),),
            alerts=("BrokerSlow",),
        ),
        Panel(
            title="Round trips of the other clients, 99 %",
            unit="s",
            width=12,
            queries=(
                (
                    f"max by (client, broker) ({every('client_broker_rtt_seconds', OTHERS)})",
                    "{{client}} {{broker}}",
                ),
            ),
        ),
        Panel(
            title="Records in queues",
            queries=((every("client_queue_messages"), "{{instance}} {{client}}"),),
        ),
        Panel(
            title="Bytes in queues",
            unit="bytes",
            queries=((every("client_queue_bytes"), "{{instance}} {{client}}"),),
        ),
        Panel(
            title="Requests that wait",
            queries=((every("client_requests_pending"), "{{instance}} {{client}}"),),
        ),
        Panel(
            title="Errors, 10 minutes",
            unit="none",
            queries=(
                (f"sum by (client, kind) (increase({every('client_errors_total')}[10m]))", "{{client}} {{kind}}"),
            ),
            alerts=("RequestErrors",),
        ),
        Panel(
            title="Brokers connected",
            unit="none",
            queries=((every("client_brokers_connected"), "{{instance}} {{client}}"),),
            alerts=("BrokersUnreached",),
        ),
        Panel(
            title="Time held back by quotas",
            unit="percentunit",
            steps=((None, "green"), (0.05, "red")),
            queries=((rate("client_throttled_seconds_total", "instance, client"), "{{instance}} {{client}}"),),
            alerts=("Throttled",),
        ),
    ),
    collapsed=True,
)

PROCESS: Final = Row(
    "Processes",
    (
        Panel(
            title="CPU, in cores",
            unit="none",
            width=6,
            queries=((f"rate({process('cpu_seconds_total')}[$__rate_interval])", "{{instance}}"),),
            note="The loop is one thread, and librdkafka's threads come on top: above 1 the loop may be full.",
        ),
        Panel(
            title="Memory",
            unit="bytes",
            width=6,
            queries=((process("resident_memory_bytes"), "{{instance}}"),),
            note="It levels off once caches and queues are full.",
        ),
        Panel(
            title="Open files, of those that are allowed",
            unit="percentunit",
            width=6,
            most=1,
            steps=((None, "green"), (0.8, "red")),
            queries=((f"{process('open_fds')} / {process('max_fds')}", "{{instance}}"),),
            alerts=("FilesNearlyUsedUp",),
        ),
        Panel(
            title="Time since the start",
            unit="s",
            width=6,
            queries=((f"time() - {process('start_time_seconds')}", "{{instance}}"),),
            alerts=("RestartLoop", "TargetFlapping"),
        ),
        Panel(
            title="Versions",
            kind="table",
            width=24,
            height=6,
            steps=((None, "text"),),
            queries=((every("build_info"), ""),),
        ),
    ),
    collapsed=True,
)
