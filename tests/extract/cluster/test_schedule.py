"""What each process of a machine reserves, and which line of an error of Ray is shown."""

import pytest

pytest.importorskip("ray", reason="needs Ray: extra scale")

from paddlevideo.extract.cluster.schedule import node_of, reason_of


def described(alive=True, **resources):
    return {
        "NodeID": "f0",
        "Alive": alive,
        "NodeManagerHostname": "vm",
        "NodeManagerAddress": "10.0.0.2",
        "Resources": {"memory": 1e9, **resources},
    }


@pytest.mark.parametrize(
    "resources, workers, has_networks, expected",
    [
        ({"CPU": 8.0}, None, False, (8, 1, 0)),
        ({"CPU": 8.0}, 3, False, (3, 1, 0)),
        ({"CPU": 2.0}, 3, False, (3, 0.6666, 0)),
        ({"CPU": 8.0, "GPU": 2.0}, None, False, (8, 1, 0)),
        ({"CPU": 8.0}, None, True, (1, 8, 0)),
        ({"CPU": 8.0}, 3, True, (3, 2, 0)),
        ({"CPU": 8.0}, 0, True, (8, 1, 0)),
        ({"CPU": 9.0, "GPU": 2.0}, None, True, (2, 4, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, 6, True, (6, 1, 0.3333)),
        ({"CPU": 8.0, "GPU": 4.0}, 1, True, (1, 8, 1)),
    ],
)
def test_processes_share_a_machine(resources, workers, has_networks, expected):
    node = node_of(described(**resources), workers, has_networks)
    assert node is not None and str(node) == "vm (10.0.0.2)"
    assert (node.processes, node.cpus, node.gpus) == expected


def test_a_machine_without_cores_or_life_has_no_process():
    assert node_of(described(), None, False) is None
    assert node_of(described(CPU=0.0), None, False) is None
    assert node_of(described(alive=False, CPU=4.0), None, False) is None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\n  File x\nModuleNotFoundError: No module named 'p'\nmore", "ModuleNotFoundError: No"),
        ("died\nthe actor. Worker exit detail: it was killed. Some common causes: x", "it was kil"),
        ("Disk is full\nIt is over capacity.Tip: Use df", "It is over capacity"),
        ("", "RuntimeError"),
    ],
)
def test_the_line_that_says_what_happened(text, expected):
    assert reason_of(RuntimeError(text)).startswith(expected)
    assert not reason_of(RuntimeError(text)).endswith(("x", "df", "."))
