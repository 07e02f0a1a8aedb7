"""The page in Firefox, if it is installed; the other tests drive Chromium.

By WebDriver BiDi as it is: Playwright asks of Firefox what its long-term release does not have.
"""

import json
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox") or ""
PATIENCE_SECONDS = 60

WRITTEN = """new Promise(function poll(done) {
    const label = document.querySelector("#derivation .result") && document.querySelector(".label");
    return label ? done(label.textContent) : setTimeout(poll, 100, done);
})"""

# As a person types into it.
OWN_KERNEL = """document.querySelector("#lab-kernel input").dispatchEvent(new Event("input"));
document.querySelector("#lab-preset").value"""

# Black and clear pixels in turn, made a ninth as large: an even grey, as Chromium makes it.
CONTRAST = """(async () => {
    const two = new OffscreenCanvas(2, 2), all = new OffscreenCanvas(4032, 4032);
    for (const at of [0, 1]) two.getContext("2d").fillRect(at, at, 1, 1);
    const ink = all.getContext("2d");
    ink.fillStyle = ink.createPattern(two, "repeat");
    ink.fillRect(0, 0, 4032, 4032);
    const { resizeToPng } = await import(new URL("web/image/resize.js", location));
    const small = await resizeToPng(URL.createObjectURL(await all.convertToBlob()), false);
    ink.reset();
    ink.drawImage(await createImageBitmap(small), 0, 0);
    const inks = ink.getImageData(0, 0, 448, 448).data.filter((_, i) => i % 4 === 3);
    return Math.max(...inks) - Math.min(...inks);
})()"""


@pytest.mark.skipif(not FIREFOX, reason="Firefox is not installed: apt-get install firefox-esr")
def test_firefox_answers_reloads_and_makes_images_small(address: str, tmp_path: Path) -> None:
    said: list[str] = []
    command = [FIREFOX, "--headless", "--remote-debugging-port=0", "--profile", str(tmp_path)]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as firefox,
        ExitStack() as end,
    ):
        end.callback(firefox.terminate)
        listens = next(filter(None, map(re.compile(r"ws://\S+").search, firefox.stderr or ())))
        with connect(f"{listens[0]}/session") as socket:

            def send(method: str, **params: object) -> Any:
                socket.send(json.dumps({"id": 1, "method": method, "params": params}))
                while (answer := json.loads(socket.recv(PATIENCE_SECONDS)))["type"] == "event":
                    said.append(answer["params"]["text"])
                assert answer["type"] == "success", answer
                return answer["result"]

            def evaluate(script: str) -> Any:
                answer = send("script.evaluate", expression=script, target=at, awaitPromise=True)
                return answer["result"].get("value")

            send("session.new", capabilities={})
            send("session.subscribe", events=["log.entryAdded"])
            at = {"context": send("browsingContext.getTree")["contexts"][0]["context"]}
            send("browsingContext.navigate", **at, url=f"{address}#sample=6", wait="complete")
            assert "Shirt" in evaluate(WRITTEN)
            assert evaluate(OWN_KERNEL) == "own"
            send("browsingContext.reload", **at, wait="complete")
            assert "Shirt" in evaluate(WRITTEN)
            assert evaluate(CONTRAST) <= 1
    assert said == []
