// The ways an image gets in: dropped, pasted, chosen, photographed, drawn, or one of the samples.

import { Failed } from "../api.js";
import { context } from "../colours.js";
import { byId, make, makeButton, rove } from "../elements.js";
import { areGarments, garment, text } from "../language/text.js";

/** @typedef {(given: import("./looks.js").Given) => unknown} Give */

const FILE = "image";

/** @param {Give} give */
export function listenForFiles(give) {
  const drop = byId("drop", HTMLElement);
  const file = byId("file", HTMLInputElement);
  const giveFirst = (/** @type {FileList | null | undefined} */ files) => {
    const image = files?.[0];
    if (image) give({ image, name: image.name || FILE });
  };
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
    giveFirst(file.files);
    file.value = ""; // so that the same file can be chosen again
  });
}

/** Those of the test set; a model of anything else has none. @param {string[]} classes @param {Give} give */
export function showSamples(classes, give) {
  if (!areGarments(classes)) return;
  const group = byId("samples", HTMLElement);
  group.replaceChildren(...classes.map((name, sample) => {
    const image = make("img");
    image.src = `web/samples/${sample}.png`;
    image.alt = "";
    const button = makeButton("", () => giveSample(sample, give), image);
    button.dataset.sample = String(sample);
    button.dataset.garment = name;
    return button;
  }));
  rove(group);
  nameSamples();
}

/** Write the samples' names in the present language. */
export function nameSamples() {
  for (const button of document.querySelectorAll("#samples button")) {
    const name = garment(button.getAttribute("data-garment") ?? "");
    button.setAttribute("aria-label", `${text("sample")}: ${name}`);
    button.setAttribute("title", name);
  }
}

/** @param {number} sample @param {Give} give */
export const giveSample = (sample, give) => give({ name: `sample-${sample}.png`, sample });

/** Show which sample is looked at. @param {(number | undefined)[]} samples */
export function markSamples(samples) {
  for (const button of document.querySelectorAll("#samples button")) {
    button.setAttribute("aria-pressed", String(samples.includes(Number(button.getAttribute("data-sample")))));
  }
}

/** @param {Give} give @param {(error: Failed) => void} fail */
export function listenToCamera(give, fail) {
  const video = byId("video", HTMLVideoElement);
  const viewfinder = byId("viewfinder", HTMLElement);
  const button = byId("camera", HTMLButtonElement);
  const shoot = byId("shoot", HTMLButtonElement);
  const close = () => {
    if (video.srcObject instanceof MediaStream) video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    viewfinder.hidden = shoot.disabled = true;
    button.setAttribute("aria-expanded", "false");
  };
  button.addEventListener("click", async () => {
    if (!viewfinder.hidden) return close();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      viewfinder.hidden = false;
      button.setAttribute("aria-expanded", "true");
      await video.play();
      shoot.disabled = false; // before, there is nothing to be seen
    } catch {
      close();
      fail(new Failed("camera"));
    }
  });
  shoot.addEventListener("click", () => {
    const frame = make("canvas");
    [frame.width, frame.height] = [video.videoWidth, video.videoHeight];
    context(frame).drawImage(video, 0, 0);
    close();
    button.focus();
    frame.toBlob((image) => image && give({ image, name: "photograph.png" }), "image/png");
  });
}
