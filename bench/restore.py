"""How fast state comes back from the changelog, on a real broker: records a second, CPU per record, memory, disk.

One reader restores all partitions into empty stores, in a process of its own; then once more from what the stores hold
already, which is what a partition that comes back costs. The last line is the rate.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from confluent_kafka.admin import AdminClient

from bench.changelog import create, fill
from bench.quick import running_broker
from processor.changelog import ChangelogReader, watermarks
from processor.run import spare_the_collector
from processor.settings import load_settings
from processor.settings_kafka import admin_config, changelog_config
from processor.store import StoreIdentity
from processor.stores import Stores


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--one", nargs=3, metavar=("BOOTSTRAP", "TOPIC", "DIRECTORY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        bootstrap, topic, directory = options.one
        print(json.dumps(restore(bootstrap, topic, options.partitions, Path(directory))))
        return
    with running_broker() as bootstrap, tempfile.TemporaryDirectory() as directory:
        topic = create(bootstrap, f"bench-state-{uuid.uuid4().hex[:6]}", options.partitions)
        began = time.monotonic()
        fill(bootstrap, topic, options.partitions, options.messages)
        seconds = time.monotonic() - began
        print(f"{options.messages:,} messages written to {options.partitions} partitions in {seconds:.0f} s")
        found = {}
        for name in ("empty disk", "coming back"):
            command = [sys.executable, "-m", "bench.restore", "--partitions", str(options.partitions)]
            command += ["--one", bootstrap, topic, directory]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            found[name] = row = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name:<11}: {row['records']:>10,} records in {row['seconds']:6.2f} s, "
                f"{row['cpu_us']:5.2f} µs CPU a record, peak RSS {row['rss_mib']:.0f} MiB, "
                f"{row['disk_bytes'] / options.messages:.0f} bytes of disk a message"
            )
        print(f"restored {found['empty disk']['rate']:,.0f} records/s")


def restore(bootstrap: str, topic: str, partitions: int, directory: Path) -> dict[str, float]:
    """Restore all partitions and return what it took; seconds and bytes."""
    settings = load_settings(None, {"kafka.bootstrap.servers": bootstrap}, {})
    admin = AdminClient(admin_config(settings))
    spare_the_collector()
    stores = Stores(directory, StoreIdentity("bench", topic, "bench", -1, partitions), 1000)
    reader = ChangelogReader(changelog_config(settings), topic, stores.rebuild)
    began, cpu = time.monotonic(), _cpu()
    for partition, end in watermarks(admin, topic, range(partitions)).items():
        reader.begin(stores.open(partition), end.high)
    while reader.restores:
        reader.step(0.1)
    seconds, cpu = time.monotonic() - began, _cpu() - cpu
    reader.close()
    stores.close_all_but()
    records = reader.records_restored
    return {
        "records": records,
        "seconds": seconds,
        "rate": records / seconds,
        "cpu_us": cpu * 1e6 / max(1, records),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "disk_bytes": sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()),
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
