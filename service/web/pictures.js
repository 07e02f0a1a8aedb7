// The ways a picture gets in: drop, paste, choose, sample, camera, pen. Each ends in `give`.

import { context } from "./colours.js";
import { byId, make } from "./elements.js";
import { text } from "./strings.js";

/** @typedef {(picture: Blob) => void} Give */

/** @param {Give} give @param {(message: string) => void} fail */
export function listen(give, fail) {
  const drop = byId("drop", HTMLElement);
  const file = byId("file", HTMLInputElement);
  const giveFirst = (/** @type {FileList | undefined} */ files) => files?.[0] && give(files[0]);
  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", type === "dragover");
    });
  }
  document.addEventListener("drop", (event) => giveFirst(event.dataTransfer?.files));
  document.addEventListener("paste", (event) => giveFirst(event.clipboardData?.files));
  byId("choose", HTMLElement).addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    giveFirst(file.files ?? undefined);
    file.value = ""; // so that the same file can be chosen again
  });
  listenToCamera(give, fail);
  listenToPen(give);
}

/** @param {string[]} names @param {Give} give */
export function showSamples(names, give) {
  const buttons = names.map((name, index) => {
    const button = make("button");
    button.type = "button";
    button.title = name;
    const image = make("img");
    image.alt = name;
    image.src = `web/samples/${index}.png`;
    button.append(image);
    button.addEventListener("click", async () => {
      give(await (await fetch(image.src)).blob());
      button.setAttribute("aria-pressed", "true");
    });
    return button;
  });
  byId("samples", HTMLElement).replaceChildren(...buttons);
  return buttons;
}

/** @param {Give} give @param {(message: string) => void} fail */
function listenToCamera(give, fail) {
  const video = byId("video", HTMLVideoElement);
  const viewfinder = byId("viewfinder", HTMLElement);
  byId("camera", HTMLElement).addEventListener("click", async () => {
    try {
      const constraints = { video: { facingMode: "environment" } };
      video.srcObject = await navigator.mediaDevices.getUserMedia(constraints);
      viewfinder.hidden = false;
      await video.play();
    } catch {
      fail(text("noCamera"));
    }
  });
  byId("shoot", HTMLElement).addEventListener("click", () => {
    const frame = make("canvas");
    [frame.width, frame.height] = [video.videoWidth, video.videoHeight];
    context(frame).drawImage(video, 0, 0);
    if (video.srcObject instanceof MediaStream) video.srcObject.getTracks().forEach((t) => t.stop());
    viewfinder.hidden = true;
    frame.toBlob((blob) => blob && give(blob), "image/png");
  });
}

/** @param {Give} give */
function listenToPen(give) {
  const sheet = byId("sheet", HTMLCanvasElement);
  const button = byId("pen", HTMLButtonElement);
  const sketch = byId("sketch", HTMLElement);
  const ink = context(sheet);
  const wipe = () => { ink.fillStyle = "black"; ink.fillRect(0, 0, sheet.width, sheet.height); };
  wipe();
  button.addEventListener("click", () => {
    sketch.hidden = !sketch.hidden;
    button.setAttribute("aria-expanded", String(!sketch.hidden));
  });
  byId("wipe", HTMLElement).addEventListener("click", wipe);
  /** @type {[number, number] | undefined} */
  let last;
  const place = (/** @type {PointerEvent} */ event) => /** @type {[number, number]} */ ([
    event.offsetX * sheet.width / sheet.clientWidth, event.offsetY * sheet.height / sheet.clientHeight]);
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    last = place(event);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    Object.assign(ink, { strokeStyle: "white", lineWidth: 2.5, lineCap: "round" });
    ink.beginPath();
    ink.moveTo(...last);
    ink.lineTo(...next);
    ink.stroke();
    last = next;
  });
  sheet.addEventListener("pointerup", () => {
    last = undefined;
    sheet.toBlob((blob) => blob && give(blob), "image/png");
  });
}
