"""The worker's real shell against a Kafka in memory, under thousands of seeded schedules of faults.

`log` is the brokers' side of records and transactions, `group` that of membership, `clients` what the worker holds in
place of confluent-kafka's classes, `disk` what stands for RocksDB, `world` the scheduler that draws what happens next,
`checks` what must hold at the end, and `mutants` the same worker with a rule broken on purpose, which must be caught.
"""
