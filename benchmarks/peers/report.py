"""The results of `benchmarks.peers` as a table and plots."""

import os
import platform
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.peers.contenders import SCRIPT, SERVICE
from benchmarks.peers.environments import REQUIREMENTS

Round = dict[str, Any]

_OWN, _OTHER = "#c4511b", "#7d8ca3"

_VERSIONS = ("fastapi", "uvicorn", "ai-edge-litert", "pillow", "numpy")


def machine() -> dict[str, Any]:
    """Return the environment of the figures: processor, system, versions."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":")[1].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
        "peers": list(REQUIREMENTS.values()),
    }


def table(results: dict[str, Any]) -> str:
    """Return PEERS.md."""
    rounds: dict[str, list[Round]] = results["contenders"]
    lines = [
        "# The service compared with its peers",
        "",
        "Written by `python -m benchmarks.peers`: the same network, one image per request, "
        f"{results['connections']} connections, the load generator (wrk) on the same "
        f"{results['machine']['cores']} cores, {results['rounds']} interleaved rounds of "
        f"{results['seconds']} s on {results['measured']}. Figures are medians; ratios are "
        "computed within a round, with the lowest and the highest in parentheses. A ratio above 1 "
        "means that the service is faster. CPU is the processor time per answer of all processes "
        "of a server, with its ratio to the service's. The service has all features on: "
        "validation, limits, admission, metrics, request ids.",
        "",
        "| server | PNG/s | service ÷ it | CPU µs | JSON/s | service ÷ it | CPU µs | "
        "p50 ms, 1 conn. | p99 ms | MiB (PSS) | first answer s |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, data in rounds.items():
        reference = rounds.get(f"{SERVICE}, 2 workers" if "2 workers" in name else SERVICE, data)
        cells = [name]
        for form in ("PNG", "JSON"):
            cells += _rate_cells(reference, data, form)
        cells += [
            _median(data, lambda r: _one_image(r)["p50_ms_of_one_connection"], "{:.2f}"),
            _median(data, lambda r: _one_image(r)["p99_ms"], "{:.1f}"),
            _median(data, lambda r: r["proportional_mib"], "{:.0f}"),
            _median(data, lambda r: r["first_answer_seconds"], "{:.1f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_limit_lines(results), ""]
    lines += [f"{name} does not run here: {why}.\n" for name, why in results["absent"].items()]
    about = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines += [
        "![Throughput, latency, memory, start, and how the service scales](results/peers.png)",
        "",
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}; {versions}; "
        f"{', '.join(about['peers'])}.",
    ]
    return "\n".join(lines) + "\n"


def _rate_cells(reference: list[Round], data: list[Round], form: str) -> list[str]:
    if form not in data[0]:
        return ["–", "–", "–"]
    rate = _median(data, lambda r: r[form]["rate"], "{:,.0f}")
    cpu = _median(data, lambda r: r[form]["cpu_us"], "{:,.0f}")
    if data is reference:
        return [rate, "1", cpu]
    faster = [a[form]["rate"] / b[form]["rate"] for a, b in zip(reference, data, strict=False)]
    cheaper = [b[form]["cpu_us"] / a[form]["cpu_us"] for a, b in zip(reference, data, strict=False)]
    return [rate, _spread(faster), f"{cpu}: {_spread(cheaper)}"]


def _spread(ratios: list[float]) -> str:
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}…{max(ratios):.2f})"


def _limit_lines(results: dict[str, Any]) -> list[str]:
    """Return a sentence on the share of decoding and inference in the service's CPU time."""
    service = results["contenders"].get(SERVICE)
    if service is None:
        return []
    shares = []
    for form in ("PNG", "JSON"):
        ratios = [
            limit[form] / r[form]["cpu_us"]
            for r, limit in zip(service, results["limits"], strict=True)
        ]
        shares.append(f"{100 * statistics.median(ratios):.0f} % for {form}")
    return [
        "Decoding and inference alone, in a loop and without HTTP, take "
        f"{' and '.join(shares)} of the processor time that the service takes for an answer."
    ]


def _one_image(data: Round) -> dict[str, Any]:
    """Return the results with an image file, or with numbers if a contender takes no file."""
    measured: dict[str, Any] = data["PNG" if "PNG" in data else "JSON"]
    return measured


def _median(data: list[Round], value: Callable[[Round], float], form: str) -> str:
    return form.format(statistics.median(value(r) for r in data))


def draw(results: dict[str, Any], path: Path) -> None:
    """Plot throughput, cost, memory, start and latency, and the scaling of service and script."""
    rounds: dict[str, list[Round]] = results["contenders"]
    figure = Figure(figsize=(17, 7), layout="constrained")
    axes: Any = figure.subplots(2, 4)
    bars: list[tuple[str, Callable[[Round], float]]] = [
        ("images a second, one a request", lambda r: _one_image(r)["rate"]),
        ("processor time an answer, µs", lambda r: _one_image(r)["cpu_us"]),
        ("memory, MiB (PSS)", lambda r: r["proportional_mib"]),
        ("seconds to the first answer", lambda r: r["first_answer_seconds"]),
    ]
    names = list(rounds)[::-1]
    for axis, (title, value) in zip(axes[0], bars, strict=True):
        middle = [statistics.median(map(value, rounds[name])) for name in names]
        colours = [_OWN if name.startswith(SERVICE) else _OTHER for name in names]
        axis.barh(names, middle, color=colours)
        for index, number in enumerate(middle):
            axis.annotate(
                f" {number:,.0f}" if number >= 100 else f" {number:.2g}",
                (number, index),
                va="center",
                fontsize=8,
            )
        if axis is not axes[0][0]:
            axis.set_yticks([])
        axis.margins(x=0.18)
        _finish(axis, title)
    _draw_latency(axes[1][0], rounds)
    for axis, key, title in (
        (axes[1][1], "cpu_us_by_connections", "processor time an answer, µs, by connections"),
        (
            axes[1][2],
            "cpu_us_an_image_by_batch",
            "processor time an image, µs, by images (JSON)",
        ),
    ):
        for name, colour in ((SERVICE, _OWN), (SCRIPT, _OTHER)):
            if name not in rounds:
                continue
            steps = list(rounds[name][0][key])
            middle = [statistics.median(r[key][step] for r in rounds[name]) for step in steps]
            axis.plot([int(step) for step in steps], middle, "o-", color=colour, label=name)
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)
        _finish(axis, title)
    about = results["machine"]
    axes[1][3].axis("off")
    axes[1][3].text(
        0,
        1,
        f"{about['processor']}, {about['cores']} cores, with the load generator\n"
        f"{results['connections']} connections, {results['rounds']} rounds, {results['measured']}\n"
        + "\n".join(f"{name} {number}" for name, number in about["versions"].items())
        + "\n"
        + "\n".join(about["peers"]),
        va="top",
        fontsize=8,
    )
    figure.savefig(path, dpi=80)


def _draw_latency(axis: Any, rounds: dict[str, list[Round]]) -> None:
    """Plot the distribution of latency on 16 connections."""
    for index, (name, data) in enumerate(rounds.items()):
        percents = [percent for percent, _ in _one_image(data[0])["percentiles_ms"]]
        curves = [[ms for _, ms in _one_image(r)["percentiles_ms"]] for r in data]
        middle = [statistics.median(column) for column in zip(*curves, strict=True)]
        own = name.startswith(SERVICE)
        axis.plot(
            middle,
            percents,
            color=_OWN if own else f"C{index}",
            linestyle="--" if "2 workers" in name else "-",
            linewidth=2 if own else 1,
            label=name,
        )
    axis.set_xscale("log")
    axis.legend(fontsize=6, frameon=False)
    _finish(axis, "percent of answers within so many ms, 16 connections")


def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
