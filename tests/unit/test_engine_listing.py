"""``ps``: which containers match Docker's filters, and the processes of one container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine_house import House
from linkspan.engine.listing import matching
from linkspan.engine.names import made_up
from linkspan.engine.process_table import rows_of
from linkspan.errors import InvalidRequest, NotFound
from linkspan.model.container import ContainerState, Mount, PortBinding
from linkspan.model.names import container_name


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Three containers: ``web`` runs, ``job`` has failed, ``new`` was created last."""
    with House(tmp_path) as opened:
        opened.network("front", "10.5.0.0/24")
        for number, (name, network) in enumerate((("web", "front"), ("job", "bridge"), ("new", "bridge"))):
            container = opened.container(name, network)
            spec = msgspec.structs.replace(
                container.spec,
                labels={"tier": name},
                exposed_ports=("80/tcp",) if name == "web" else (),
                port_bindings=(PortBinding(port=443),) if name == "web" else (),
                mounts=(Mount(kind="volume", source="data", target="/data"),) if name == "job" else (),
            )
            opened.intent.commit(put=[msgspec.structs.replace(container, created=float(number), spec=spec)])
        web, job, _ = opened.intent.containers
        opened.intent.commit(
            states={
                web: ContainerState(status="running", pid=7, started=1.0),
                job: ContainerState(status="exited", exit_code=3, started=1.0, finished=2.0),
            }
        )
        yield opened


def found(house: House, *, everything: bool = True, limit: int = 0, **wanted: str) -> list[str]:
    asked = {key.replace("_", "-"): [text] for key, text in wanted.items()}
    listed = matching(house.intent, asked, everything=everything, limit=limit, image_ids=None)
    return [container.name for container in listed]


def test_without_all_only_what_runs_is_shown(house: House) -> None:
    assert found(house, everything=False) == ["web"]
    assert found(house) == ["new", "job", "web"]


def test_the_last_ones_and_a_status_show_stopped_ones_too(house: House) -> None:
    assert found(house, everything=False, limit=2) == ["new", "job"]
    assert found(house, everything=False, status="exited") == ["job"]
    assert found(house, everything=False, exited="3") == ["job"]


def test_a_container_that_waits_for_its_restart_counts_as_running(house: House) -> None:
    job = house.intent.container("job")
    house.intent.commit(states={job.id: ContainerState(status="restarting")})
    assert found(house, everything=False) == ["job", "web"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"name": "we"}, ["web"]),
        ({"name": "^/web$"}, ["web"]),
        ({"label": "tier=job"}, ["job"]),
        ({"label": "tier"}, ["new", "job", "web"]),
        ({"network": "front"}, ["web"]),
        ({"network": "nowhere"}, []),
        ({"volume": "data"}, ["job"]),
        ({"volume": "/data"}, ["job"]),
        ({"since": "web"}, ["new", "job"]),
        ({"before": "new"}, ["job", "web"]),
        ({"exited": "0"}, []),
        ({"health": "none"}, ["new", "job", "web"]),
        ({"health": "healthy"}, []),
        ({"is_task": "true"}, []),
        ({"is_task": "false"}, ["new", "job", "web"]),
    ],
)
def test_filters_match_as_dockers(house: House, wanted: dict[str, str], names: list[str]) -> None:
    assert found(house, **wanted) == names


def test_ids_match_by_their_first_digits(house: House) -> None:
    assert found(house, id=house.intent.container("web").id[:20]) == ["web"]


def test_images_match_by_what_their_names_resolved_to(house: House) -> None:
    assert matching(house.intent, {}, everything=True, limit=0, image_ids=frozenset()) == []
    assert len(matching(house.intent, {}, everything=True, limit=0, image_ids=frozenset({"sha256:0"}))) == 3


def test_bad_filters_are_refused(house: House) -> None:
    with pytest.raises(InvalidRequest, match="status=asleep"):
        found(house, status="asleep")
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'"):
        found(house, colour="red")
    with pytest.raises(NotFound):
        found(house, since="nobody")


def test_the_processes_of_a_container_are_cut_out_of_ps() -> None:
    titles, rows = rows_of([os.getpid()], "")
    assert titles[:2] == ("UID", "PID")
    assert [row[1] for row in rows] == [str(os.getpid())]
    assert all(len(row) == len(titles) for row in rows)
    titles, rows = rows_of([os.getpid()], "-eo pid,comm")
    assert titles == ("PID", "COMMAND")
    assert rows_of([], "")[1] == ()


@pytest.mark.parametrize("arguments", ["--no-such-option", "-eo comm", "-eo 'pid"])
def test_what_ps_cannot_show_is_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest):
        rows_of([os.getpid()], arguments)


def test_a_made_up_name_is_a_name_and_is_not_taken() -> None:
    taken: set[str] = set()
    for _ in range(2000):
        name = made_up(taken.__contains__)
        assert container_name(name) == name
        assert name not in taken
        taken.add(name)
