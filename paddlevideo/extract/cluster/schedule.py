"""Which video goes to which process of a Ray cluster, and what becomes of those that are lost."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from paddlevideo.extract.cluster.messages import Answer, Event, Task
from paddlevideo.extract.cluster.slot import Slot
from paddlevideo.extract.work import FAILED, Status
from paddlevideo.extract.worker import Crash
from paddlevideo.utils.errors import ConfigError, DataError, UserError

#: Seconds between two looks for machines that joined, and at most in one wait.
LOOK, WAIT = 2.0, 0.5
#: Seconds after which waiting for machines is told, and work begins without those that are busy.
TOLD, PATIENCE = 10.0, 30.0
#: How often a video may be lost with its process or machine before it counts as failed.
LIVES = 3


@dataclass
class Node:
    """A machine, and the resources that each of its processes reserves."""

    id: str
    name: str
    processes: int
    cpus: float
    gpus: float
    running: int = 0
    #: In what it is not as expected; empty: in nothing; None: it has not answered yet.
    complaint: str | None = None

    def __str__(self) -> str:
        return self.name


def node_of(described: Mapping[str, Any], workers: int | None, has_networks: bool) -> Node | None:
    """Returns a machine that Ray describes; None if it has no core for work.

    By default it has a process for each core, or with networks for each GPU, else one.
    """
    cores = described["Resources"].get("CPU", 0)
    if not described["Alive"] or not cores:
        return None
    gpus = described["Resources"].get("GPU", 0) if has_networks else 0
    given = max(1, int(gpus)) if workers is None and has_networks else workers
    processes = given or max(1, int(cores))
    return Node(
        described["NodeID"],
        f"{described['NodeManagerHostname']} ({described['NodeManagerAddress']})",
        processes,
        _share(cores, processes, 1e9 if has_networks else 1),  # a network uses all it can get
        _share(gpus, processes, 1),
    )


def _share(amount: float, processes: int, limit: float) -> float:
    """Returns a process's share: Ray takes whole numbers, and fractions below 1."""
    share = min(amount / processes, limit)
    return float(int(share)) if share >= 1 else int(share * 1e4) / 1e4


@dataclass(eq=False)
class _Actor:
    node: Node
    handle: Any


@dataclass
class Schedule:
    """The state of a run. One video at a time is with each process: memory stays flat."""

    task: Task
    nodes: dict[str, Node] = field(default_factory=dict)
    #: Machines that are left out, and why.
    _out: dict[str, str] = field(default_factory=dict)
    _idle: list[_Actor] = field(default_factory=list)
    #: What each answer to come is about; None: whether the node is as expected.
    _pending: dict[Any, tuple[_Actor, int | None]] = field(default_factory=dict)
    #: By video: the machines on which it was lost, each time.
    _lost: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    _lines: list[str] = field(default_factory=list)
    _events: deque[Event] = field(default_factory=deque)
    _is_working: bool = False
    _looked: float = -math.inf
    _is_told: bool = False

    def __post_init__(self) -> None:
        self._waiting = deque(range(len(self.task.videos)))
        self._begun = time.monotonic()

    def advance(self) -> Event | None:
        """Waits for at most :data:`WAIT` seconds; None: all videos have an answer.

        Raises ConfigError for a machine that is not as expected when the work begins, and DataError
        where none is left.
        """
        if not self._events:
            self._look()
            self._hand_out()
            if not (self._waiting or any(video is not None for _, video in self._pending.values())):
                return None
            self._listen()
            self._hand_out()
        event = self._events.popleft() if self._events else Event([])
        event.lines, self._lines = self._lines + event.lines, []
        return event

    # --------------------------------------------------------------------------- machines

    def _look(self) -> None:
        """Forgets machines that left, and starts processes on new ones or in place of lost ones."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        workers, has_networks = self.task.options.workers, self.task.expected.ready.has_networks
        found = [node_of(each, workers, has_networks) for each in ray.nodes()]
        alive = {node.id: node for node in found if node is not None}
        for name in self.nodes.keys() - alive.keys():
            self._leave_out(self.nodes[name], "has left the cluster")
        for name in alive.keys() - self.nodes.keys() - self._out.keys():
            self.nodes[name] = alive[name]
        for node in self.nodes.values():
            wanted = 0 if node.complaint else min(node.processes, len(self.task.videos))
            for _ in range(wanted - node.running):
                self._start(node)
        if not self.nodes:
            told = "; ".join(self._out.values()) or "none has a core for work"
            raise DataError(
                f"--ray {self.task.options.ray}: no machine of the cluster can go on: {told}. Run "
                "the same command again, then it continues"
            )

    def _leave_out(self, node: Node, reason: str) -> None:
        """Gives no more work to a machine. What it is working on is heard of, or lost."""
        if self.nodes.pop(node.id, None) is not None:
            self._out[node.id] = f"{node}: {reason}"
            self._idle = [actor for actor in self._idle if actor.node is not node]
            self._lines.append(f"{node}: {reason}: its videos go to other machines")
        self._looked = -math.inf  # is any left?

    def _start(self, node: Node) -> None:
        node.running += 1
        actor = ray.remote(Slot).options(
            num_cpus=node.cpus,
            num_gpus=node.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        slot = _Actor(node, actor.remote(self.task.options, self.task.settings))
        self._pending[slot.handle.complaint.remote(self.task.expected)] = (slot, None)

    def _check(self, actor: _Actor, complaint: str) -> None:
        node = actor.node
        node.complaint = node.complaint or complaint
        if not complaint and node.id in self.nodes:
            self._idle.append(actor)
        elif self._is_working:
            self._leave_out(node, complaint)

    # ----------------------------------------------------------------------------- videos

    def _may_work(self) -> bool:
        """Returns whether machines have answered, all that are not busy: once, all as expected."""
        if self._is_working:
            return True
        busy = [str(node) for node in self.nodes.values() if node.complaint is None]
        seconds = time.monotonic() - self._begun
        if busy and seconds > TOLD and not self._is_told:
            self._is_told = True
            self._lines.append(f"waiting for a free core on {', '.join(busy)}")
        if busy and (seconds <= PATIENCE or len(busy) == len(self.nodes)):
            return False
        complaints = [f"{node}: {node.complaint}" for node in self.nodes.values() if node.complaint]
        if complaints:
            raise ConfigError("\n".join(complaints))
        self._is_working = True
        return True

    def _hand_out(self) -> None:
        if not self._may_work():
            return
        for actor in list(self._idle):
            index = self._next_for(actor.node)
            if index is not None:
                self._idle.remove(actor)
                answer = actor.handle.extract.remote(self.task.videos[index])
                self._pending[answer] = (actor, index)

    def _next_for(self, node: Node) -> int | None:
        """Takes the next video; one that was lost here only if no machine is left to try."""
        checked = {each.id for each in self.nodes.values() if each.complaint is not None}
        for index in self._waiting:
            lost = self._lost.get(index, ())
            if node.id not in lost or checked <= set(lost):
                self._waiting.remove(index)
                return index
        return None

    def _listen(self) -> None:
        """Waits for the next answers."""
        if not self._pending:
            time.sleep(WAIT)
            return
        done, _ = ray.wait(list(self._pending), timeout=WAIT)
        for reference in done:
            actor, index = self._pending.pop(reference)
            try:
                value = ray.get(reference)
            except RayTaskError as error:
                self._stop_using(actor, index, error)
                continue
            except RayError as error:
                self._lose(actor, index, error)
                continue
            if index is None:
                self._check(actor, value)
            else:
                self._answer(actor, index, value)

    def _answer(self, actor: _Actor, index: int, answer: Answer) -> None:
        node, video, expected = actor.node, self.task.videos[index], self.task.expected
        if isinstance(answer, Crash) or answer[0].fingerprint == expected.fingerprint(video):
            if node.id in self.nodes:
                self._idle.append(actor)
            self._events.append(Event([], index, answer))
            return
        # A machine whose disk of videos is gone would fail them all, and quickly.
        if node.id in self.nodes:
            self._pending[actor.handle.complaint.remote(expected)] = (actor, None)
        if not self._repeat(index, node):
            status = Status(video.id, str(video.path), FAILED, "another file")
            status.reason = f"{video.path}: is another file on {node} than on this machine"
            status.fingerprint = expected.fingerprint(video)
            self._events.append(Event([], index, (status, [])))

    def _stop_using(self, actor: _Actor, index: int | None, error: RayTaskError) -> None:
        """Leaves out a machine with a full disk or without its models; RuntimeError for a bug."""
        if index is None or not isinstance(error.cause, RayError | UserError | OSError):
            raise RuntimeError(str(error)) from None
        self._waiting.appendleft(index)
        self._leave_out(actor.node, f"cannot go on: {reason_of(error.cause)}")

    def _repeat(self, index: int, node: Node) -> bool:
        """Puts back a video that was lost on a machine, unless that was the last time."""
        self._lost[index].append(node.id)
        if len(self._lost[index]) < LIVES:
            self._waiting.appendleft(index)
        return len(self._lost[index]) < LIVES

    def _lose(self, actor: _Actor, index: int | None, error: RayError) -> None:
        """A process or its machine is gone: what it was working on goes elsewhere."""
        node = actor.node
        node.running -= 1
        ray.kill(actor.handle)
        if index is None:
            self._lose_unchecked(node, error)
            return
        video = self.task.videos[index].id
        self._lines.append(f"{node}: lost the process that had {video} ({reason_of(error)})")
        if not self._repeat(index, node):
            ended = f"ended the process of Ray {LIVES} times, the last time on {node}"
            self._events.append(Event([], index, Crash(f"{ended} ({reason_of(error)})")))

    def _lose_unchecked(self, node: Node, error: RayError) -> None:
        self._looked = -math.inf
        self._look()
        if node.id not in self.nodes:
            return  # the machine is gone
        node.complaint = (
            f"no process of paddlevideo {self.task.expected.version} starts there: "
            f"{reason_of(error)}. Every machine needs it in the Python that runs Ray"
        )
        if self._is_working:
            self._leave_out(node, node.complaint)


def reason_of(error: BaseException) -> str:
    """Returns the line of an error of Ray that says what happened, without advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if line.partition(":")[0].endswith("Error")]
    line = (errors or lines or [type(error).__name__])[-1]
    line = line.rpartition("Worker exit detail: ")[2]
    return re.split(r" Some common causes|\. ?Tip: ", line)[0][:300].rstrip(".")
