"""Readings of resource use as ``docker stats`` reads them: the last two, so that clients compute rates."""

from __future__ import annotations

from linkspan.api.wire import times
from linkspan.api.wire.decoding import Json
from linkspan.engine.views import InterfaceCounters, StatsSample


def stats(sample: StatsSample, previous: StatsSample | None) -> Json:
    """One line of ``GET /containers/{id}/stats``. Without a previous reading its members are zero."""
    shown: Json = {
        "id": sample.id,
        "name": f"/{sample.name}",
        "read": times.rfc3339(sample.time),
        "preread": times.rfc3339(previous.time) if previous else times.NEVER,
        "pids_stats": {"current": sample.pids, "limit": sample.pids_limit},
        "blkio_stats": _blocks(sample),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(previous) if previous else _cpu(StatsSample(id="", name="", time=0, online_cpus=0)),
        "memory_stats": {"usage": sample.memory_usage, "stats": sample.memory_stats, "limit": sample.memory_limit},
    }
    if sample.interfaces:
        shown["networks"] = {name: _interface(counters) for name, counters in sample.interfaces.items()}
    return shown


def _cpu(sample: StatsSample) -> Json:
    return {
        "cpu_usage": {
            "total_usage": sample.cpu_total,
            "usage_in_kernelmode": sample.cpu_kernel,
            "usage_in_usermode": sample.cpu_user,
        },
        "system_cpu_usage": sample.system_cpu,
        "online_cpus": sample.online_cpus,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }


def _blocks(sample: StatsSample) -> Json:
    """All devices as one, ``0:0``: clients add them up anyway."""
    return {
        "io_service_bytes_recursive": [
            {"major": 0, "minor": 0, "op": "read", "value": sample.block_read},
            {"major": 0, "minor": 0, "op": "write", "value": sample.block_write},
        ],
        "io_serviced_recursive": None,
        "io_queue_recursive": None,
        "io_service_time_recursive": None,
        "io_wait_time_recursive": None,
        "io_merged_recursive": None,
        "io_time_recursive": None,
        "sectors_recursive": None,
    }


def _interface(counters: InterfaceCounters) -> Json:
    return {
        "rx_bytes": counters.rx_bytes,
        "rx_packets": counters.rx_packets,
        "rx_errors": counters.rx_errors,
        "rx_dropped": counters.rx_dropped,
        "tx_bytes": counters.tx_bytes,
        "tx_packets": counters.tx_packets,
        "tx_errors": counters.tx_errors,
        "tx_dropped": counters.tx_dropped,
    }
