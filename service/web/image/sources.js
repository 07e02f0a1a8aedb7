// Image sources: drop, paste, file dialog, camera and test samples.

import { context2d } from "../colours.js";
import { byId, make, makeButton, addRovingTabindex } from "../elements.js";
import { AppError } from "../errors.js";
import { classLabel, isFashionMnist, text } from "../language/text.js";

/** @typedef {(source: import("./analysis.js").ImageSource) => unknown} OnImage */

/** @param {OnImage} onImage */
export function initFileInputs(onImage) {
  const dropZone = byId("drop", HTMLElement);
  const input = byId("file", HTMLInputElement);
  const takeFirst = (/** @type {FileList | null | undefined} */ files) => {
    const file = files?.[0];
    if (file) onImage({ file, name: file.name || "image" });
  };
  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      dropZone.classList.toggle("over", type === "dragover");
    });
  }
  document.addEventListener("drop", (event) => takeFirst(event.dataTransfer?.files));
  document.addEventListener("paste", (event) => takeFirst(event.clipboardData?.files));
  byId("choose", HTMLElement).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    takeFirst(input.files);
    input.value = ""; // choosing the same file again must fire another event
  });
}

/** Shows one test image of each class; only Fashion-MNIST has them. @param {string[]} classes @param {OnImage} onImage */
export function showSamples(classes, onImage) {
  if (!isFashionMnist(classes)) return;
  const group = byId("samples", HTMLElement);
  group.replaceChildren(...classes.map((name, sample) => {
    const image = make("img");
    image.src = `web/samples/${sample}.png`;
    image.alt = "";
    const button = makeButton("", () => selectSample(sample, onImage), image);
    button.dataset.sample = String(sample);
    button.dataset.garment = name;
    return button;
  }));
  addRovingTabindex(group);
  labelSamples();
}

/** Updates the labels after a change of language. */
export function labelSamples() {
  for (const button of document.querySelectorAll("#samples button")) {
    const name = classLabel(button.getAttribute("data-garment") ?? "");
    button.setAttribute("aria-label", `${text("sample")}: ${name}`);
    button.setAttribute("title", name);
  }
}

/** @param {number} sample @param {OnImage} onImage */
export const selectSample = (sample, onImage) => onImage({ name: `sample-${sample}.png`, sample });

/** @param {(number | undefined)[]} selected */
export function markSamples(selected) {
  for (const button of document.querySelectorAll("#samples button")) {
    button.setAttribute("aria-pressed", String(selected.includes(Number(button.getAttribute("data-sample")))));
  }
}

/** @param {OnImage} onImage @param {(error: AppError) => void} onError */
export function initCamera(onImage, onError) {
  const video = byId("video", HTMLVideoElement);
  const viewfinder = byId("viewfinder", HTMLElement);
  const toggle = byId("camera", HTMLButtonElement);
  const shutter = byId("shoot", HTMLButtonElement);
  const close = () => {
    if (video.srcObject instanceof MediaStream) video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    viewfinder.hidden = shutter.disabled = true;
    toggle.setAttribute("aria-expanded", "false");
  };
  toggle.addEventListener("click", async () => {
    if (!viewfinder.hidden) return close();
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      viewfinder.hidden = false;
      toggle.setAttribute("aria-expanded", "true");
      await video.play();
      shutter.disabled = false; // no frame to capture before
    } catch {
      close();
      onError(new AppError("camera"));
    }
  });
  shutter.addEventListener("click", () => {
    const frame = make("canvas");
    [frame.width, frame.height] = [video.videoWidth, video.videoHeight];
    context2d(frame).drawImage(video, 0, 0);
    close();
    toggle.focus();
    frame.toBlob((file) => file && onImage({ file, name: "photograph.png" }), "image/png");
  });
}
