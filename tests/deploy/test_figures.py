"""The figures that autoscalers go by: what masters and workers report, and what Prometheus makes of it."""

import asyncio
import json
import re
import shutil
import subprocess
import wave
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from harness import Harness
from manifests import KUBERNETES, Manifest, Object, build
from pods import ADMINISTRATOR, Pod, digits_model, master_pod, need_bubblewrap, speak, worker_pod
from processes import running_process
from tornado.httpclient import AsyncHTTPClient

POOL, NAMESPACE = "english", "pykaldi-server"
SESSIONS = 2
INTERVAL = "500ms"
NAME = re.compile(r"\b(pykaldi_server_\w+?)(?:_sum|_count|_bucket)?\b")
"""A metric in an expression; a histogram has three of them."""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian: apt-get install prometheus)")
    return found


@pytest.fixture(scope="module")
def production() -> Manifest:
    return build(KUBERNETES / "overlays" / "production")


@pytest.fixture(scope="module")
def rules(production: Manifest) -> Object:
    """The content of the file of rules that the operator makes."""
    (found,) = production.of_kind("PrometheusRule")
    spec: Object = found["spec"]
    return spec


def expressions(rules: Object) -> list[str]:
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_prometheus_understands_the_rules(rules: Object, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    ran = subprocess.run([program("promtool"), "check", "rules", str(file)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(expressions(rules))} rules found" in ran.stdout


def series(name: str, values: str, **labels: str) -> Object:
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"pykaldi_server_{name}{{{shown}}}", "values": values}


def test_the_figures_are_what_an_autoscaler_needs(rules: Object, tmp_path: Path) -> None:
    """One pod of three drains: its slots have become few, and count for what they still do."""
    slots = {"a": (6, 4, 0), "b": (4, 5, 1), "c": (2, 0, 0)}
    minutes = 5
    reported = [
        series("worker_slots", f"{value}+0x{minutes}", namespace="n", pool="p", pod=pod, state=state)
        for pod, values in slots.items()
        for state, value in zip(("busy", "free", "disconnected"), values, strict=True)
    ]
    reported += [
        series("worker_slots", f"0+0x{minutes}", namespace="n", pool="loading", pod="d", state=state)
        for state in ("busy", "free", "disconnected")
    ]
    # Sixty requests a minute on two masters, of which each waited for 3 s; and a model that nobody asks for.
    for pod in ("master-0", "master-1"):
        labels = {"namespace": "n", "pod": pod, "model": "p", "outcome": "served"}
        reported.append(series("queue_wait_seconds_sum", f"0+90x{minutes}", **labels))
        reported.append(series("queue_wait_seconds_count", f"0+30x{minutes}", **labels))
        labels["model"] = "quiet"
        reported.append(series("queue_wait_seconds_sum", f"7+0x{minutes}", **labels))
        reported.append(series("queue_wait_seconds_count", f"7+0x{minutes}", **labels))
    wanted: dict[str, dict[str, float]] = {
        "pykaldi_server:workers_busy": {'{namespace="n", pool="p"}': 1.2},
        "pykaldi_server:queue_wait_mean_seconds": {
            '{namespace="n", model="p", pool="p"}': 3,
            '{namespace="n", model="quiet", pool="quiet"}': 0,
        },
    }
    reported.append(series("slots", f"5+0x{minutes}", namespace="n", pod="master-0", model="p", state="busy"))
    for pod in ("master-0", "master-1"):
        reported.append(series("build_info", f"1+0x{minutes}", namespace="n", pod=pod, version="1"))
    alone = {
        "exp_labels": {"namespace": "n", "pod": "master-1", "severity": "critical"},
        "exp_annotations": {"summary": "The master master-1 has no worker, so it can serve nobody."},
    }
    alerts = [
        {"eval_time": f"{minutes}m", "alertname": "PykaldiServerNoWorkers", "exp_alerts": [alone]},
        {"eval_time": f"{minutes}m", "alertname": "PykaldiServerDatabase", "exp_alerts": []},
    ]
    checks = [
        {
            "expr": name,
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": name + labels, "value": value} for labels, value in samples.items()],
        }
        for name, samples in wanted.items()
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": reported,
                "promql_expr_test": checks,
                "alert_rule_test": alerts,
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    ran = subprocess.run(
        [program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Prometheus:
    """A running Prometheus.

    Args:
        port: of its interface.
    """

    def __init__(self, port: str) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/query"

    async def value(self, query: str) -> float | None:
        """The only value of an expression; None if there is none."""
        url = f"{self._url}?{urlencode({'query': query})}"
        answer = await AsyncHTTPClient().fetch(url, raise_error=False)
        if answer.code == 503:  # it has just started
            return None
        found = json.loads(answer.body)["data"]["result"]
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    async def becomes(self, query: str, value: float) -> None:
        while await self.value(query) != pytest.approx(value):
            await asyncio.sleep(0.1)


def scrape(job: str, pod: Pod, path: str, **more: Any) -> Object:
    """What the operator makes of a monitor for one pod; the labels are those that it adds."""
    labels = {"namespace": NAMESPACE, "pod": job, **more.pop("labels", {})}
    address = pod.url.removeprefix("http://")
    return {
        "job_name": job,
        "metrics_path": path,
        "static_configs": [{"targets": [address], "labels": labels}],
        **more,
    }


@asynccontextmanager
async def prometheus(folder: Path, rules: Object, jobs: list[Object]) -> AsyncIterator[Prometheus]:
    """Prometheus with the rules of the manifests, which looks more often than they say."""
    (folder / "rules.yaml").write_text(json.dumps(rules).replace('"15s"', f'"{INTERVAL}"'))
    config = {
        "global": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), INTERVAL),
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    options = (
        "--config.file=prometheus.yaml",
        "--web.listen-address=127.0.0.1:0",
        "--storage.tsdb.path=data",
    )
    async with running_process(program("prometheus"), *options, cwd=folder, stderr=PIPE) as process:
        assert process.stderr is not None
        log = ""
        while (found := re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', log)) is None:
            line = (await process.stderr.readline()).decode()
            assert line, log
            log += line
        draining = asyncio.create_task(process.stderr.read())
        try:
            yield Prometheus(found[1])
        finally:
            process.kill()
            await draining


def test_real_pods_report_what_is_scaled_by(
    production: Manifest, rules: Object, harness: Harness, models: Path, golden: Path, tmp_path: Path
) -> None:
    need_bubblewrap()
    program("prometheus")
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        digits = file.readframes(file.getnframes() // 2)
    adapter = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["externalRules"]
    scaler = production.get("HorizontalPodAutoscaler", f"worker-{POOL}")["spec"]
    (masters,) = production.of_kind("ServiceMonitor")
    (workers,) = production.of_kind("PodMonitor")

    def query(metric: Object) -> str:
        """What the adapter asks for a metric of the autoscaler."""
        (rule,) = (each for each in adapter if each["name"]["as"] == metric["name"])
        series = re.fullmatch(r"\^(.+)\$", rule["name"]["matches"])
        assert series is not None
        labels = {"namespace": NAMESPACE, **metric["selector"]["matchLabels"]}
        matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
        asked: str = rule["metricsQuery"]
        return asked.replace("<<.Series>>", series[1]).replace("<<.LabelMatchers>>", matchers)

    busy, waits = (query(each["external"]["metric"]) for each in scaler["metrics"])

    async def scenario() -> None:
        container = production.container(f"worker-{POOL}")
        async with (
            master_pod(production.container("master"), tmp_path / "master") as master,
            worker_pod(
                container, tmp_path / "worker", digits_model(tmp_path, models), master, sessions=SESSIONS
            ) as worker,
        ):
            await master.becomes("readiness", 200)
            (of_master,), (of_worker,) = masters["spec"]["endpoints"], workers["spec"]["podMetricsEndpoints"]
            assert (await master.fetch(of_master["path"])).code == 401
            token = {"type": of_master["authorization"]["type"], "credentials": ADMINISTRATOR}
            labels = {
                name: container.pods["metadata"]["labels"][name]
                for name in workers["spec"]["podTargetLabels"]
            }
            jobs = [
                scrape("master-0", master, of_master["path"], authorization=token),
                scrape("worker-0", worker, of_worker["path"], labels=labels),
            ]
            speakers = [await speak(harness, master, digits) for _ in range(SESSIONS)]
            # All names that are asked for are there, with the labels.
            shown = [(await each.fetch("/metrics", ADMINISTRATOR)).body.decode() for each in (master, worker)]
            for name in {name for each in expressions(rules) for name in NAME.findall(each)}:
                assert any(re.search(rf"^(?:# TYPE )?{name}[{{ ]", text, re.MULTILINE) for text in shown), (
                    name
                )
            async with prometheus(tmp_path, rules, jobs) as watching:
                await watching.becomes(busy, 1.0)
                await watching.becomes(waits, 0.0)
                waiting = asyncio.create_task(speak(harness, master, digits))
                await watching.becomes("sum(pykaldi_server_requests_waiting)", 1)
                speakers.pop().close()
                speakers.append(await waiting)
                while not await watching.value(waits):
                    await asyncio.sleep(0.1)
                for each in speakers:
                    each.close()
                await watching.becomes(busy, 0.0)

    harness.run(scenario)
