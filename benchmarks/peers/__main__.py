"""Measure the service beside its peers: the same network, pictures, load generator and machine.

    python -m benchmarks.peers [--rounds 5] [--seconds 3] [--only NAME …]

In each round every contender is started in its turn, alone, and asked: one picture a request as a
PNG and as JSON numbers, on 16 connections and on one. The service and the script are asked on more
connections and with more pictures as well. Ratios are taken within a round, so that a machine that
slows down slows both sides. Peers get environments of their own in .venv-peers; one that does not
run here is named, not left out. Writes results/peers.json, results/peers.png and PEERS.md; a round
takes about two and a half minutes. Needs wrk.
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
from benchmarks.request_path import alone_per_second
from service.artifact import INT8_FLATBUFFER
from service.settings import Settings
from service.sources import open_source

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
    chosen = [c for c in contenders() if options.only is None or c.name in options.only]
    results = measure(chosen, options.rounds, options.seconds)
    print(table(results))
    if options.only is None:
        (RESULTS / "peers.json").write_text(json.dumps(results, indent=1) + "\n")
        draw(results, RESULTS / "peers.png")
        (ROOT / "benchmarks" / "PEERS.md").write_text(table(results))


def measure(chosen: list[Contender], rounds: int, seconds: int) -> dict[str, Any]:
    """Return what each contender did in each round, and what a loop without HTTP did."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    settings = _model_paths()
    measured: dict[str, list[dict[str, Any]]] = {}
    absent: dict[str, str] = {}
    limits: list[dict[str, float]] = []
    for _ in tqdm(range(rounds), desc="rounds", unit="round"):
        limits.append(alone_per_second(Path(settings["FLATBUFFER"]), seconds))
        for contender in tqdm(chosen, desc="contenders", leave=False):
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
        busy = load(server.port, request, connections=CONNECTIONS, seconds=seconds)
        quiet = load(server.port, request, connections=1, seconds=max(1, seconds // 2))
        result[form] = {
            "rate": busy.rate,
            "p50_ms": busy.p50_ms,
            "p90_ms": busy.p90_ms,
            "p99_ms": busy.p99_ms,
            "p50_ms_of_one_connection": quiet.p50_ms,
        }
    result["proportional_mib"] = server.proportional_mib()
    if contender.name in (SERVICE, SCRIPT):
        result |= _scaling(server.port, contender.requests["PNG"])
    return result


def _scaling(port: int, png: Request) -> dict[str, dict[int, float]]:
    return {
        "rate_by_connections": {
            count: load(port, png, connections=count, seconds=1).rate
            for count in SCALING_CONNECTIONS
        },
        "images_a_second_by_batch": {
            images: images * load(port, batch(images), connections=2, seconds=1).rate
            for images in SCALING_IMAGES
        },
    }


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
