"""The chaos test: a real broker, three workers, traffic all the while, and a seeded schedule of faults.

`python -m tests.chaos --help` says how to run it. A seed makes a scenario (`scenario`), the fleet of workers suffers it
(`faults`), and what the topics and the books hold afterwards is held against the oracle (`judge`).
"""
