from __future__ import annotations

import time

import pytest

from linkspan.cli.commands.container_list import container_row, shown_ports
from linkspan.cli.commands.container_stats import stats_row
from linkspan.cli.commands.plan import rendered as plan_rendered
from linkspan.cli.commands.system_events import event_line
from linkspan.cli.documents import Json
from linkspan.cli.human import age, binary_size, decimal_size, spaced
from linkspan.cli.listing import rendered
from linkspan.cli.progress import line
from linkspan.cli.tables import shortened, table
from linkspan.cli.template.value import Row

COLUMNS = (("NETWORK ID", "ID"), ("NAME", "Name"))
ROWS = [Row("network", {"ID": "abc", "Name": "bridge"}), Row("network", {"ID": "0123456789ab", "Name": "w"})]


def test_columns_are_as_wide_as_their_widest_cell_and_three_spaces() -> None:
    assert rendered(ROWS, COLUMNS, "") == "NETWORK ID     NAME\nabc            bridge\n0123456789ab   w\n"


def test_a_narrow_column_has_ten_places() -> None:
    assert table([["A", "B"], ["1", "2"]]) == "A         B\n1         2\n"


def test_an_empty_listing_is_its_head() -> None:
    assert rendered([], COLUMNS, "table") == "NETWORK ID   NAME\n"


def test_a_cell_cannot_break_the_line_or_repaint_the_terminal() -> None:
    assert table([["a\nb\x1b[2J", "c"]]) == "a b [2J   c\n"


def test_json_prints_one_document_a_line() -> None:
    assert rendered(ROWS[:1], COLUMNS, "json") == '{"ID":"abc","Name":"bridge"}\n'


def test_a_template_prints_one_line_a_row() -> None:
    assert rendered(ROWS, COLUMNS, "{{.Name}}\\t{{.ID}}") == "bridge\tabc\nw\t0123456789ab\n"


def test_a_table_template_has_a_head_of_its_own() -> None:
    assert rendered(ROWS, COLUMNS, "table {{.Name}}\\t{{.ID}}") == (
        "NAME      NETWORK ID\nbridge    abc\nw         0123456789ab\n"
    )
    assert rendered([], COLUMNS, "table {{.Name}}\t{{.ID}}") == "NAME      NETWORK ID\n"


def test_long_values_are_cut_with_an_ellipsis() -> None:
    assert shortened("sleep infinity and more", 20) == "sleep infinity and …"
    assert shortened("short", 20) == "short"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_are_rounded_as_docker_rounds_them(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_sizes_have_their_own_powers_for_disks_and_memory() -> None:
    assert decimal_size(0) == "0B"
    assert decimal_size(4_261_502, 3) == "4.26MB"
    assert decimal_size(187_000_000, 3) == "187MB"
    assert binary_size(1536) == "1.5KiB"
    assert binary_size(512 << 20) == "512MiB"


def test_times_of_the_api_are_shown_as_go_prints_them() -> None:
    assert spaced("2026-11-23T18:27:14.5Z") == "2026-11-23 18:27:14.5 +0000 UTC"
    assert spaced("2026-11-23T19:27:14+01:00") == "2026-11-23 19:27:14 +0100 +0100"


def test_neighbouring_ports_are_joined() -> None:
    ports: list[Json] = [
        {"IP": "0.0.0.0", "PrivatePort": number, "PublicPort": number + 1000, "Type": "tcp"} for number in (80, 81, 82)
    ]
    ports += [{"IP": "::", "PrivatePort": 80, "PublicPort": 1080, "Type": "tcp"}, {"PrivatePort": 443, "Type": "tcp"}]
    assert shown_ports(ports) == "0.0.0.0:1080-1082->80-82/tcp, [::]:1080->80/tcp, 443/tcp"
    assert shown_ports([]) == ""


def test_a_container_is_shown_as_docker_shows_it() -> None:
    row = container_row(
        {
            "Id": "a" * 64,
            "Names": ["/web", "/other/alias"],
            "Image": "nginx",
            "Command": "nginx -g 'daemon off;' --more",
            "Created": int(time.time()) - 300,
            "Status": "Up 5 minutes",
            "State": "running",
            "Labels": {"b": "2", "a": "1"},
            "Ports": [],
            "NetworkSettings": {"Networks": {"web": {}, "back": {}}},
        }
    )
    shown = row.plain()
    assert shown["ID"] == "a" * 12
    assert shown["Names"] == "web"
    assert shown["Command"] == '"nginx -g \'daemon of…"'
    assert shown["RunningFor"] == "5 minutes ago"
    assert shown["Labels"] == "a=1,b=2"
    assert shown["Networks"] == "back,web"


def test_use_of_resources_is_computed_as_docker_does() -> None:
    row = stats_row(
        {
            "id": "b" * 64,
            "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 3 << 20, "limit": 8 << 20, "stats": {"inactive_file": 1 << 20}},
            "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 1}, "eth1": {"rx_bytes": 500, "tx_bytes": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5}, {"op": "write", "value": 6}]},
            "pids_stats": {"current": 4},
        },
        "web",
    ).plain()
    assert row["CPUPerc"] == "40.00%"
    assert row["MemUsage"] == "2MiB / 8MiB"
    assert row["MemPerc"] == "25.00%"
    assert row["NetIO"] == "1.5kB / 2B"
    assert row["BlockIO"] == "5B / 6B"
    assert row["PIDs"] == "4"


def test_a_sample_of_an_ended_container_is_all_zeros() -> None:
    assert stats_row({}, "web").plain()["CPUPerc"] == "0.00%"


def test_an_event_is_one_line() -> None:
    line_ = event_line(
        {
            "Type": "container",
            "Action": "start",
            "Actor": {"ID": "abc", "Attributes": {"name": "web", "image": "nginx"}},
            "timeNano": 1_795_458_434_000_000_005,
        }
    )
    assert line_.endswith(".000000005Z container start abc (image=nginx, name=web)")


def test_progress_is_a_bar_with_sizes() -> None:
    assert line({"status": "Pull complete", "id": "abc"}) == "abc: Pull complete"
    shown = line({"status": "Downloading", "id": "abc", "progressDetail": {"current": 500, "total": 1000}})
    assert shown == f"abc: Downloading [{'=' * 25}>{' ' * 24}]     500B/1kB"


def test_a_plan_is_a_script_with_comments() -> None:
    steps: list[Json] = [
        {"Scope": "network web", "Action": "create", "Object": "bridge br-1", "Commands": ["ip link add br-1"]},
        {"Scope": "network web", "Action": "create", "Object": "address", "Commands": ["ip addr add 10.0.0.1/24"]},
        {"Scope": "endpoint x", "Action": "create", "Object": "veth", "Commands": []},
    ]
    assert plan_rendered(steps).splitlines() == [
        "### network web",
        "# create bridge br-1",
        "ip link add br-1",
        "# create address",
        "ip addr add 10.0.0.1/24",
        "",
        "### endpoint x",
        "# create veth",
    ]
    assert plan_rendered([]).startswith("# nothing to do")
