// Error messages, localized by error code, with a retry button where a retry may help.

import { make, makeButton } from "./elements.js";
import { text, textElement } from "./language/text.js";

/** An error that the page shows: `code` is one of the service's, or `timeout`, `unreachable` or `camera`. */
export class AppError extends Error {
  /** @param {string} code @param {string} [message] of the service */
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

/** @type {Record<string, import("./language/text.js").TextKey>} */
const MESSAGES = {
  invalid_image: "failedImage", unsupported_media_type: "failedImage", empty_body: "failedEmpty",
  image_too_large: "failedLarge", body_too_large: "failedLarge", too_many_images: "failedMany",
  overloaded: "failedBusy", draining: "failedStopping", not_ready: "failedLoading",
  deadline_exceeded: "failedSlow", request_timeout: "failedSlow", timeout: "failedSlow", unreachable: "unreachable",
  unauthenticated: "failedKey", forbidden: "failedForbidden", unknown_version: "failedVersion", camera: "noCamera",
};

/** Errors that a retry cannot fix. */
const PERMANENT = ["invalid_image", "unsupported_media_type", "empty_body", "image_too_large", "body_too_large", "too_many_images",
  "unauthenticated", "forbidden", "camera"];

/** @param {unknown} error */
export const needsApiKey = (error) => error instanceof AppError && ["unauthenticated", "forbidden"].includes(error.code);

/**
 * Describes an AppError to the user. Any other error is a bug of the page and is rethrown.
 * @param {unknown} error
 * @param {() => void} retry
 */
export function errorBox(error, retry) {
  if (!(error instanceof AppError)) throw error;
  const { code, message } = error;
  // The service has no weights for a layer that was folded into its neighbour.
  if (code === "unknown_layer") return make("p", "", text("weightsUnavailable"));
  const box = make("div", "failure", textElement("p", MESSAGES[code] ?? "failedOther"));
  box.dataset.code = code;
  if (message) {
    const detail = make("small", "", message);
    detail.lang = "en";
    box.append(make("p", "", detail));
  }
  if (!PERMANENT.includes(code)) box.append(makeButton("", retry, textElement("span", "retry")));
  return box;
}

/**
 * Runs the action of a button and shows an error beside the button.
 * @param {HTMLElement} button
 * @param {() => Promise<unknown>} action
 */
export async function runAction(button, action) {
  const shown = button.nextElementSibling;
  if (shown?.classList.contains("failure")) shown.remove();
  button.setAttribute("aria-busy", "true");
  try {
    await action();
  } catch (error) {
    const box = errorBox(error, () => runAction(button, action));
    box.role = "alert";
    button.after(box);
  } finally {
    button.removeAttribute("aria-busy");
  }
}
