// Sentences in the language of who reads them.

import { english } from "./english.js";
import { make } from "../elements.js";
import { garments, korean } from "./korean.js";

/** @typedef {keyof typeof english} Name of a sentence */

const LANGUAGES = { en: english, ko: korean };

/** @typedef {keyof typeof LANGUAGES} Language */

/** @returns {Language} the one asked for earlier, or else the first of the browser's that there is */
export function language() {
  const asked = [localStorage.getItem("language") ?? "", ...navigator.languages];
  const known = asked.map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
  return /** @type {Language} */ (known ?? "en");
}

/** @param {string} chosen */
export const useLanguage = (chosen) => localStorage.setItem("language", chosen);

/**
 * @param {Name} name
 * @param {Record<string, string | number>} [values] of the places in braces
 */
export const text = (name, values = {}) =>
  LANGUAGES[language()][name].replace(/\{(\w+)\}/g, (_, place) => String(values[place]));

/** What a class is called. @param {string} name that the service knows it by */
export const garment = (name) => (language() === "ko" ? garments[name] ?? name : name);

/** Whether the classes are those of Fashion-MNIST. @param {string[]} classes */
export const areGarments = (classes) => classes.join() === Object.keys(garments).join();

/** The same, with the name that the service knows it by, should that be another. @param {string} name */
export const fullName = (name) => (garment(name) === name ? [name] : [garment(name), " ", make("small", "", name)]);

/** An element with a sentence, which `translate` keeps in the present language. @param {"p" | "span"} tag @param {Name} name */
export function sentence(tag, name) {
  const element = make(tag, "", text(name));
  element.dataset.text = name;
  return element;
}

/** Where fingers point, nothing is dropped, hovered over or stepped through by keys. */
const touch = matchMedia("(hover: none)");

/** Write every sentence of the document in the present language. */
export function translate() {
  document.documentElement.lang = language();
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) {
    const name = (touch.matches && element.getAttribute("data-touch")) || element.getAttribute("data-text");
    element.textContent = text(/** @type {Name} */ (name));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(/** @type {Name} */ (element.getAttribute("data-label"))));
  }
}
