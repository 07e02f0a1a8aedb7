// Localized text: English or Korean.

import { english } from "./english.js";
import { make } from "../elements.js";
import { classes, korean } from "./korean.js";

/** @typedef {keyof typeof english} TextKey */

const LANGUAGES = { en: english, ko: korean };

/** @typedef {keyof typeof LANGUAGES} Language */

/** @returns {Language} the chosen language, or else the first supported one of the browser's */
export function language() {
  const preferred = [localStorage.getItem("language") ?? "", ...navigator.languages];
  const supported = preferred.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
  return /** @type {Language} */ (supported ?? "en");
}

/** @param {string} chosen */
export const setLanguage = (chosen) => localStorage.setItem("language", chosen);

/**
 * @param {TextKey} key
 * @param {Record<string, string | number>} [values] that replace the names in braces
 */
export const text = (key, values = {}) =>
  LANGUAGES[language()][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

/** The localized name of a class. @param {string} name as the service has it */
export const classLabel = (name) => (language() === "ko" ? classes[name] ?? name : name);

/** @param {string[]} names */
export const isFashionMnist = (names) => names.join() === Object.keys(classes).join();

/** The localized name, followed by the service's where the two differ. @param {string} name */
export const fullClassLabel = (name) => (classLabel(name) === name ? [name] : [classLabel(name), " ", make("small", "", name)]);

/** An element whose text `translate` updates. @param {"p" | "span"} tag @param {TextKey} key */
export function textElement(tag, key) {
  const element = make(tag, "", text(key));
  element.dataset.text = key;
  return element;
}

/** Touch screens have their own wording: no drop, hover or arrow keys. */
const touch = matchMedia("(hover: none)");

/** Updates the text and label of every element that names a key. */
export function translate() {
  document.documentElement.lang = language();
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) {
    const key = (touch.matches && element.getAttribute("data-touch")) || element.getAttribute("data-text");
    element.textContent = text(/** @type {TextKey} */ (key));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(/** @type {TextKey} */ (element.getAttribute("data-label"))));
  }
}
