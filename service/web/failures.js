// What went wrong, told in the reader's language by the error's code, with what to do.

import { Failed } from "./api.js";
import { make, makeButton } from "./elements.js";
import { sentence } from "./language/text.js";

/** @typedef {import("./language/text.js").Name} Name */

/** The sentence of each code that has one. @type {Record<string, Name>} */
const SENTENCES = {
  invalid_image: "failedImage", unsupported_media_type: "failedImage", empty_body: "failedEmpty",
  image_too_large: "failedLarge", body_too_large: "failedLarge", too_many_images: "failedMany",
  overloaded: "failedBusy", draining: "failedStopping", not_ready: "failedLoading",
  deadline_exceeded: "failedSlow", request_timeout: "failedSlow", slow: "failedSlow", unreachable: "unreachable",
  unauthenticated: "failedKey", forbidden: "failedForbidden", unknown_version: "failedVersion", camera: "noCamera",
};

/** Of the codes above: the same again will do no better. */
const FINAL = ["invalid_image", "unsupported_media_type", "empty_body", "image_too_large", "body_too_large", "too_many_images",
  "unauthenticated", "forbidden", "camera"];

/** Whether only another key helps. @param {unknown} error */
export const asksForKey = (error) => error instanceof Failed && ["unauthenticated", "forbidden"].includes(error.code);

/**
 * The sentences about a failure; what the page itself did wrong is thrown on.
 * @param {unknown} error
 * @param {() => void} retry is offered where it may help
 */
export function failureBox(error, retry) {
  if (!(error instanceof Failed)) throw error;
  const { code, message } = error;
  const box = make("div", "failure", sentence("p", SENTENCES[code] ?? "failedOther"));
  box.dataset.code = code;
  if (message) {
    const words = make("small", "", message);
    words.lang = "en";
    box.append(make("p", "", words));
  }
  if (!FINAL.includes(code)) box.append(makeButton("", retry, sentence("span", "again")));
  return box;
}

/**
 * Do something for a button that was pressed; if it fails, say so beside it.
 * @param {HTMLElement} button
 * @param {() => Promise<unknown>} work
 */
export async function doOrTell(button, work) {
  const told = button.nextElementSibling;
  if (told?.classList.contains("failure")) told.remove();
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    const box = failureBox(error, () => doOrTell(button, work));
    box.role = "alert";
    button.after(box);
  } finally {
    button.removeAttribute("aria-busy");
  }
}
