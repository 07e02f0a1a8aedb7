"""Compare the service with its peers: the same network, images, load generator and machine.

    python -m benchmarks.peers [--rounds 5] [--seconds 3] [--only NAME …]

Each round starts every contender in turn, alone, and sends one image per request as a PNG and as
JSON numbers, on 16 connections and on one. The service and the script also get more connections and
more images per request. Ratios are taken within a round, so that a slower machine slows both sides;
the CPU time per response of all processes of a server, which depends less on other load, is
recorded as well. Each peer has its own environment in .venv-peers; a peer that does not run here is
listed as such. Writes results/peers.json, results/peers.png and PEERS.md; a round takes about three
minutes. Needs wrk.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.peers.contenders import SCRIPT, SERVICE, Contender, Request, batch, contenders
from benchmarks.peers.environments import ENVIRONMENTS, ROOT
from benchmarks.peers.generator import load
from benchmarks.peers.processes import DoesNotRunError, Running, running
from benchmarks.peers.report import draw, machine, table
from benchmarks.request_path import without_http_us
from service.model.artifact import INT8_FLATBUFFER
from service.model.store import open_source
from service.settings import Settings

CONNECTIONS = 16
SCALING_CONNECTIONS = (1, 4, 16, 64, 256)
SCALING_IMAGES = (1, 4, 16, 64, 256)
WARM_UP_SECONDS = 1

RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each stretch of load")
    parser.add_argument("--only", nargs="+", help="names of contenders; nothing is written")
    options = parser.parse_args()
    selected = [c for c in contenders() if options.only is None or c.name in options.only]
    results = measure(selected, options.rounds, options.seconds)
    print(table(results))
    if options.only is None:
        (RESULTS / "peers.json").write_text(json.dumps(results, indent=1) + "\n")
        draw(results, RESULTS / "peers.png")
        (ROOT / "benchmarks" / "PEERS.md").write_text(table(results))


def measure(selected: list[Contender], rounds: int, seconds: int) -> dict[str, Any]:
    """Return the results of each contender and of a loop without HTTP, by round."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    settings = _model_paths()
    measured: dict[str, list[dict[str, Any]]] = {}
    absent: dict[str, str] = {}
    limits: list[dict[str, float]] = []
    for _ in tqdm(range(rounds), desc="rounds", unit="round"):
        limits.append(without_http_us(Path(settings["FLATBUFFER"]), seconds))
        for contender in tqdm(selected, desc="contenders", leave=False):
            if contender.name in absent:
                continue
            log = ENVIRONMENTS / f"{contender.name.replace(' ', '-')}.log"
            try:
                with running(contender, settings, log) as server:
                    one = _measure_one(contender, server, seconds)
            except DoesNotRunError as error:
                absent[contender.name] = str(error)
                continue
            measured.setdefault(contender.name, []).append(one)
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "rounds": rounds,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "machine": machine(),
        "limits": limits,
        "contenders": measured,
        "absent": absent,
    }


def _measure_one(contender: Contender, server: Running, seconds: int) -> dict[str, Any]:
    result: dict[str, Any] = {"first_answer_seconds": server.first_answer_seconds}
    for form, request in contender.requests.items():
        load(server.port, request, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
        before = server.cpu_seconds()
        loaded = load(server.port, request, connections=CONNECTIONS, seconds=seconds)
        spent = server.cpu_seconds() - before
        if not loaded.requests:
            raise DoesNotRunError(f"no answer within {seconds} s under load")
        unloaded = load(server.port, request, connections=1, seconds=max(1, seconds // 2))
        result[form] = {
            "rate": loaded.rate,
            "cpu_us": 1e6 * spent / loaded.requests,
            "percentiles_ms": list(loaded.percentiles_ms.items()),
            "p99_ms": loaded.percentiles_ms[99],
            "p50_ms_of_one_connection": unloaded.percentiles_ms[50],
        }
    result["proportional_mib"] = server.proportional_mib()
    if contender.name in (SERVICE, SCRIPT):
        result |= _scaling(server, contender.requests["PNG"])
    return result


def _scaling(server: Running, png: Request) -> dict[str, dict[int, float]]:
    return {
        "cpu_us_by_connections": {
            count: _cpu_us(server, png, connections=count) for count in SCALING_CONNECTIONS
        },
        "cpu_us_an_image_by_batch": {
            images: _cpu_us(server, batch(images), connections=2) / images
            for images in SCALING_IMAGES
        },
    }


def _cpu_us(server: Running, request: Request, *, connections: int) -> float:
    """Return the CPU time per request of a server, in microseconds."""
    before = server.cpu_seconds()
    answered = load(server.port, request, connections=connections, seconds=1).requests
    return 1e6 * (server.cpu_seconds() - before) / max(1, answered)


def _model_paths() -> dict[str, str]:
    settings = Settings()
    source = open_source(settings.artifacts, settings.cache)
    directory = source.directory(source.versions()[0]).resolve()
    return {
        "FLATBUFFER": str(directory / INT8_FLATBUFFER),
        "SAVED_MODEL": str(directory),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


if __name__ == "__main__":
    main()
