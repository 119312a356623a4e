"""The kernel thread: order, faults, batches, lazy deletes, recovery. On the kernel of dictionaries."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel.diff import Create, Delete, Step
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.state import (
    Address,
    Bridge,
    Element,
    Namespace,
    Object,
    Route,
    Scope,
    State,
    Sysctl,
    Table,
    Veth,
    state_of,
)
from linkspan.kernel.worker import Worker

HOST: Scope = ("host", "")
WEB: Scope = ("network", "web0123456789abc")
SANDBOX: Scope = ("sandbox", "s1")

TABLE = Table(family="inet", name="linkspan", ruleset="set bridges { type ifname; }\nset ports { type ifname; }")
BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias="linkspan:cafe0123:network:web", group=7)
NAMESPACE = Namespace(name="s1")
ROUTE = Route(namespace="s1", link="eth0", destination="0.0.0.0/0", gateway="10.0.0.1")


def element(name: str, set_name: str = "ports") -> Element:
    return Element(family="inet", table="linkspan", set=set_name, item=(name,))


def port(name: str = "ls-1", namespace: str = "s1", inside: str = "eth0") -> Veth:
    return Veth(
        name=name,
        master="br-web",
        alias="linkspan:cafe0123:endpoint:e",
        group=7,
        peer_namespace=namespace,
        peer_name=inside,
        peer_mac="02:42:00:00:00:02",
    )


def endpoint(number: int = 1, namespace: str = "s1", inside: str = "eth0") -> dict[Scope, State]:
    name = f"ls-{number}"
    address = Address(namespace=namespace, link=inside, address=f"10.0.0.{number + 1}/24")
    return {("endpoint", f"e{number}"): state_of([element(name), port(name, namespace, inside), address])}


GROUND: dict[Scope, State] = {
    HOST: state_of([TABLE]),
    WEB: state_of([element("br-web", "bridges"), BRIDGE, Address(link="br-web", address="10.0.0.1/24")]),
}
SANDBOXED: dict[Scope, State] = {**GROUND, SANDBOX: state_of([NAMESPACE, ROUTE]), **endpoint()}


def union(wants: dict[Scope, State]) -> State:
    return {key: item for state in wants.values() for key, item in state.items()}


@asynccontextmanager
async def running(kernel: FakeKernel, idle: Callable[[], bool] | None = None) -> AsyncIterator[Worker]:
    worker = Worker(kernel, idle=idle)
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 10))


async def held_up(worker: Worker) -> Callable[[], Awaitable[None]]:
    """Occupies the kernel thread until what is returned is called."""
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go_on.wait(5)

    task = asyncio.create_task(worker.call(wait))
    await asyncio.to_thread(began.wait, 5)

    async def release() -> None:
        go_on.set()
        await task

    return release


def test_several_scopes_are_made_together_in_the_order_of_ranks() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            steps = await worker.converge(dict(reversed(SANDBOXED.items())))
            assert kernel.read(["s1"]) == union(SANDBOXED)
            assert [step.object.rank for step in steps] == sorted(step.object.rank for step in steps)
            assert worker.applied(WEB) == GROUND[WEB]
            assert worker.preview(SANDBOXED) == ()

    run(story())


def test_a_preview_does_nothing() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            assert {type(step) for step in worker.preview(SANDBOXED)} == {Create}
            assert kernel.journal == []

    run(story())


def test_a_refused_step_leaves_nothing_behind_and_is_named() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(GROUND)
            kernel.foreign.add(("link", "", "ls-1"))
            with pytest.raises(
                Conflict, match=r"^cannot create veth ls-1 with peer eth0 in sandbox s1: File exists; .* another name"
            ) as caught:
                await worker.converge({SANDBOX: state_of([NAMESPACE, ROUTE]), **endpoint()})
            assert caught.value.whose == "e1"
            assert kernel.read(["s1"]) == union(GROUND)
            assert worker.applied(SANDBOX) == {}

    run(story())


def test_an_object_of_another_scope_is_refused_naming_it() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(GROUND)
            with pytest.raises(Conflict, match="network other wants the bridge br-web, which belongs to network web"):
                await worker.converge({("network", "other"): state_of([BRIDGE])})
            assert kernel.read([]) == union(GROUND)

    run(story())


def test_an_object_may_move_between_scopes_of_one_call() -> None:
    async def story() -> None:
        async with running(FakeKernel()) as worker:
            await worker.converge(GROUND)
            other: Scope = ("network", "other")
            assert await worker.converge({WEB: {}, other: GROUND[WEB]}) == ()
            assert worker.applied(WEB) == {}
            assert worker.applied(other) == GROUND[WEB]

    run(story())


def test_changes_that_wait_together_are_made_together_and_each_hears_of_its_own_steps() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge({**GROUND, SANDBOX: state_of([NAMESPACE])})
            release = await held_up(worker)
            wants = [endpoint(number, inside=f"eth{number}") for number in range(1, 5)]
            tasks = [asyncio.create_task(worker.converge(want)) for want in wants]
            await asyncio.sleep(0)
            kernel.journal.clear()
            await release()
            results = await asyncio.gather(*tasks)
            for want, steps in zip(wants, results, strict=True):
                assert {step.object.key for step in steps} == set(union(want))
            ranks = [step.object.rank for step in kernel.journal]
            assert ranks == sorted(ranks)

    run(story())


def test_a_failure_of_one_does_not_fail_the_others() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge({**GROUND, SANDBOX: state_of([NAMESPACE])})
            kernel.foreign.add(("link", "", "ls-2"))
            release = await held_up(worker)
            wants = [endpoint(number, inside=f"eth{number}") for number in range(1, 4)]
            tasks = [asyncio.create_task(worker.converge(want)) for want in wants]
            await asyncio.sleep(0)
            await release()
            first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(second, Conflict)
            assert not isinstance(first, BaseException)
            assert not isinstance(third, BaseException)
            expected = {**GROUND, SANDBOX: state_of([NAMESPACE]), **wants[0], **wants[2]}
            assert kernel.read(["s1"]) == union(expected)

    run(story())


def test_a_caller_who_goes_while_waiting_withdraws_the_change() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge({**GROUND, SANDBOX: state_of([NAMESPACE])})
            release = await held_up(worker)
            gone = asyncio.create_task(worker.converge(endpoint(1)))
            stays = asyncio.create_task(worker.converge(endpoint(2, inside="eth1")))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
            await release()
            await stays
            assert worker.applied(("endpoint", "e1")) == {}
            assert kernel.read(["s1"]) == union(
                {**GROUND, SANDBOX: state_of([NAMESPACE]), **endpoint(2, inside="eth1")}
            )

    run(story())


def test_a_caller_who_goes_too_late_leaves_memory_and_kernel_in_agreement() -> None:
    async def story() -> None:
        kernel = SlowKernel()
        async with running(kernel) as worker:
            await worker.converge(GROUND)
            kernel.pause.clear()
            task = asyncio.create_task(worker.converge({WEB: {}}))
            await asyncio.to_thread(kernel.reached.wait, 5)
            task.cancel()
            await asyncio.sleep(0)
            kernel.pause.set()
            await worker.call(lambda: None)
            assert worker.applied(WEB) == {}
            assert kernel.read([]) == union({HOST: GROUND[HOST]})

    run(story())


class SlowKernel(FakeKernel):
    """Applies only while ``pause`` is set; tells when it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.pause = threading.Event()
        self.pause.set()
        self.reached = threading.Event()

    def apply(self, steps: Sequence[Step]) -> None:
        if not self.pause.is_set():
            self.reached.set()
            self.pause.wait(5)
        super().apply(steps)


def test_links_of_a_dissolved_endpoint_leave_service_now_and_are_collected_later() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(SANDBOXED)
            await worker.converge({SANDBOX: {}, ("endpoint", "e1"): {}})
            assert kernel.read(["s1"]) == union(GROUND)
            assert set(kernel.discarded) == {("link", "", "ls-1")}
            await asyncio.sleep(0.2)
            assert kernel.discarded == {}

    run(story())


def test_an_eager_delete_is_done_on_return() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(SANDBOXED)
            steps = await worker.converge({("endpoint", "e1"): {}, SANDBOX: state_of([NAMESPACE])}, eager=True)
            assert Delete(port()) in steps
            assert kernel.discarded == {}
            assert kernel.read(["s1"]) == union({**GROUND, SANDBOX: state_of([NAMESPACE])})

    run(story())


def test_a_name_that_is_wanted_again_is_collected_first() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(SANDBOXED)
            await worker.converge({SANDBOX: {}, ("endpoint", "e1"): {}})
            await worker.converge({SANDBOX: SANDBOXED[SANDBOX], **endpoint()})
            assert kernel.read(["s1"]) == union(SANDBOXED)
            assert kernel.discarded == {}

    run(story())


def test_a_sandbox_comes_back_without_waiting_for_what_was_discarded() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(SANDBOXED)
            await worker.converge({SANDBOX: {}, ("endpoint", "e1"): {}})
            again = {SANDBOX: SANDBOXED[SANDBOX], **endpoint(2)}
            await worker.converge(again)
            assert set(kernel.discarded) == {("link", "", "ls-1")}
            await worker.drain()
            assert kernel.discarded == {}
            assert kernel.read(["s1"]) == union({**GROUND, **again})

    run(story())


def test_resync_collects_garbage_repairs_and_keeps_the_rest() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge({**SANDBOXED, ("endpoint", "old"): state_of([port("ls-9", inside="eth9")])})
        kernel.lose(("link", "", "br-web"))
        async with running(kernel) as restarted:
            kernel.journal.clear()
            await restarted.resync(SANDBOXED, ["s1"])
            await restarted.drain()
            assert kernel.read(["s1"]) == union(SANDBOXED)
            assert NAMESPACE not in [step.object for step in kernel.journal]
            assert restarted.preview(SANDBOXED) == ()

    run(story())


def test_resync_goes_on_after_a_failure_and_reports_it() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        kernel.foreign.add(("link", "", "br-web"))
        async with running(kernel) as worker:
            wants = {**GROUND, SANDBOX: state_of([NAMESPACE])}
            with pytest.raises(ExceptionGroup) as caught:
                await worker.resync(wants, [])
            texts = [str(error) for error in caught.value.exceptions]
            assert texts == ["network web012345678: cannot create bridge br-web: File exists"]
            assert kernel.read(["s1"]) == union({HOST: GROUND[HOST], SANDBOX: wants[SANDBOX]})
            kernel.foreign.clear()
            await worker.converge(wants)
            assert kernel.read(["s1"]) == union(wants)

    run(story())


def test_when_the_undo_fails_too_the_kernel_is_read_and_led_back() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        async with running(kernel) as worker:
            await worker.converge(GROUND)
            changed = replace(BRIDGE, mtu=1400)
            want: list[Object] = [element("br-web", "bridges"), changed, Sysctl(path="net/ipv4/ip_forward", value="1")]
            kernel.fail_at(3, errno.EPERM)
            kernel.fail_at(4, errno.EIO)
            with pytest.raises(KernelFailure, match="Operation not permitted"):
                await worker.converge({WEB: state_of(want)} | {("network", "b"): state_of([replace(BRIDGE, name="b")])})
            assert kernel.read([]) == union(GROUND)
            assert worker.preview(GROUND) == ()

    run(story())


def test_functions_run_on_the_kernel_thread_and_their_errors_reach_the_caller() -> None:
    async def story() -> None:
        async with running(FakeKernel()) as worker:
            assert await worker.call(lambda: threading.current_thread().name) == "linkspan-kernel"
            with pytest.raises(ZeroDivisionError):
                await worker.call(lambda: 1 // 0)
            assert await worker.call(divmod, 7, 2) == (3, 1)

    run(story())


def test_idle_work_goes_on_while_nothing_else_is_to_be_done() -> None:
    async def story() -> None:
        calls: list[str] = []

        def idle() -> bool:
            calls.append(threading.current_thread().name)
            return len(calls) < 3

        async with running(FakeKernel(), idle):
            await asyncio.sleep(0.4)
        assert calls == ["linkspan-kernel"] * 3

    run(story())


def test_a_stopped_worker_finishes_what_was_queued_and_refuses_more() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        worker = Worker(kernel)
        worker.start()
        last = asyncio.create_task(worker.converge(GROUND))
        await asyncio.sleep(0)
        await worker.stop()
        await last
        assert kernel.read([]) == union(GROUND)
        with pytest.raises(KernelFailure, match="not running"):
            await worker.converge(GROUND)

    run(story())


class BreakingKernel(FakeKernel):
    """Loses its socket in the middle of a change."""

    breaks_at: int | None = None

    def apply(self, steps: Sequence[Step]) -> None:
        if self.breaks_at is None:
            super().apply(steps)
            return
        part, self.breaks_at = steps[: self.breaks_at], None
        super().apply(part)
        raise OSError(errno.ENOBUFS, "no buffer space")


def test_a_kernel_that_cannot_be_asked_is_read_and_led_back() -> None:
    async def story() -> None:
        kernel = BreakingKernel()
        async with running(kernel) as worker:
            await worker.converge(GROUND)
            kernel.breaks_at = 2
            with pytest.raises(KernelFailure, match="network web012345678: the kernel cannot be asked"):
                await worker.converge({WEB: {}})
            assert kernel.read([]) == union(GROUND)
            assert worker.preview(GROUND) == ()

    run(story())


def test_what_an_earlier_daemon_discarded_is_collected() -> None:
    async def story() -> None:
        kernel = FakeKernel()
        kernel.discarded[("link", "", "ls-7")] = (("link", "", "ls-7"),)
        async with running(kernel):
            await asyncio.sleep(0.2)
        assert kernel.discarded == {}

    run(story())
