"""The message status processor: raw carrier status events in, canonical status changes out, exactly once.

The data's way, and the module that does each step::

    raw topics ─► codec ─► extract ─► packs ─► reduce ─► worker ─► message.status.changes
                  Avro     callback   carrier  per        one Kafka
                  frames   1 → N      tables   message    transaction

`status`, `model` and `errors` hold the vocabulary. Everything up to `pipeline` is a pure core that knows nothing of
Kafka, clocks, disks or HTTP; `store`, `kafka`, `telemetry` and `worker` are the shell around it.
"""

__version__ = "0.1.0"
