"""Many clients at once: the only refusal is that of a full queue, every answer is right, and memory does not grow."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from demo_server import get, served

TEXTS = ["love it", "so sad", "at noon today", "hate it", "great day"]
MEBIBYTE = 1 << 20
Outcome = tuple[str, str | None]


def memory_of(process: int) -> int:
    """Bytes of a process that are in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def ask(url: str, text: str) -> Outcome:
    """``ok`` and the label, or how it was refused."""
    body = json.dumps({"tweet": text}).encode()
    status, _, answer = get(f"{url}gradio_api/call/v2/classify", body, Content_Type="application/json")
    if status != 200:
        return f"{status} {json.loads(answer)['detail']}", None
    status, _, answer = get(f"{url}gradio_api/call/classify/{json.loads(answer)['event_id']}")
    event, _, data = answer.decode().strip().rpartition("\n")
    if status != 200 or not event.endswith("event: complete"):
        return f"{status} {answer.decode()}", None
    return "ok", json.loads(data.removeprefix("data: "))[0]["label"]


def client(url: str, requests: int) -> list[Outcome]:
    return [ask(url, TEXTS[i % len(TEXTS)]) for i in range(requests)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, where Linux tells memory")
@pytest.mark.parametrize(
    ("clients", "requests"), [(20, 5), pytest.param(50, 20, marks=pytest.mark.thorough)], ids=["few", "many"]
)
def test_many_clients_get_answers_or_are_told_to_wait(
    easy_run: Path, tmp_path: Path, clients: int, requests: int
) -> None:
    with served("--run", easy_run, home=tmp_path) as (url, process), ThreadPoolExecutor(clients) as pool:
        expected = [ask(url, text) for text in TEXTS]
        list(pool.map(client, [url] * clients, [4] * clients))  # threads and buffers are there from now on
        before = memory_of(process)
        found = list(pool.map(client, [url] * clients, [requests] * clients))
        grown = memory_of(process) - before
    outcomes = Counter(outcome for each in found for outcome, _ in each)
    assert set(outcomes) <= {"ok", "503 Queue is full. Max size is 16 and size is 16."}, outcomes
    assert outcomes["ok"] >= requests
    for each in found:
        for i, (outcome, label) in enumerate(each):
            assert outcome != "ok" or label == expected[i % len(TEXTS)][1]
    assert grown < 50 * MEBIBYTE
    print(f"{outcomes}, {grown / MEBIBYTE:.1f} MiB more")
