"""A small checking load: threads that send numbered rows to an echo model and hold every answer against what was sent."""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time


class Load:
    """`threads` connections, each sending one-row FP32 [1,4] requests one after the other until stop()."""

    def __init__(self, address: str, model: str = "echo", threads: int = 8, headers: dict | None = None):
        self.address, self.model, self.headers = address, model, headers or {}
        self.statuses: collections.Counter = collections.Counter()
        self.messages: collections.Counter = collections.Counter()
        self.sent = self.wrong = self.unanswered = 0
        self.latencies: list[float] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]

    def start(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> "Load":
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a request was never answered"
        return self

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=45)
        count = 0
        while not self._stop.is_set():
            count += 1
            row = [float(number), float(count), float(number * 1000 + count % 997), 0.25]
            body = json.dumps(
                {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}]}
            )
            begin = time.monotonic()
            try:
                connection.request("POST", f"/v2/models/{self.model}/infer", body, self.headers)
                answer = connection.getresponse()
                status, text = answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                status, text = 0, b""
                connection.close()
            with self._lock:
                self.sent += 1
                self.statuses[status] += 1
                self.latencies.append(time.monotonic() - begin)
                if status == 0:
                    self.unanswered += 1
                elif status == 200:
                    self.wrong += json.loads(text)["outputs"][0]["data"] != row
                else:
                    self.messages[text.decode(errors="replace")[:200]] += 1
                    time.sleep(0.002)  # a refusal costs nothing: do not let refusals crowd the rest out

    def summary(self) -> str:
        return (
            f"{self.sent} sent, by status {dict(self.statuses)}, wrong {self.wrong}, "
            f"unanswered {self.unanswered}, messages {self.messages.most_common(3)}"
        )
