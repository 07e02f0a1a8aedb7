// Elements of the document: found, and made.

/**
 * The element of that id.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`no ${type.name} #${id}`);
  return element;
}

/**
 * A new element with a class and what is in it.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} className
 * @param {...(string | Node)} content
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, className = "", ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/**
 * @param {string} className
 * @param {(event: MouseEvent) => void} press
 * @param {...(string | Node)} content
 */
export function makeButton(className, press, ...content) {
  const button = make("button", className, ...content);
  button.type = "button";
  button.addEventListener("click", press);
  return button;
}

/**
 * Let one of a group of buttons be reached by Tab and the others by the arrow keys.
 * @param {HTMLElement} group its children that are buttons
 */
export function rove(group) {
  const buttons = () => /** @type {HTMLButtonElement[]} */ ([...group.querySelectorAll(":scope > button:not(:disabled)")]);
  /** @param {HTMLButtonElement} chosen */
  const choose = (chosen) => buttons().forEach((button) => { button.tabIndex = button === chosen ? 0 : -1; });
  const [first] = buttons();
  if (first) choose(group.querySelector("button[aria-pressed=true]") ?? first);
  group.addEventListener("focusin", ({ target }) => target instanceof HTMLButtonElement && choose(target));
  group.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    if (at < 0) return;
    const line = all.filter((button) => button.offsetTop === all[0].offsetTop).length;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + line, ArrowUp: at - line, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  });
}

/** Where the arrow keys go: rows down and columns to the right. */
export const ARROWS = new Map([["ArrowUp", [-1, 0]], ["ArrowDown", [1, 0]], ["ArrowLeft", [0, -1]], ["ArrowRight", [0, 1]]]);

/** The nearest that there is. @param {number} at @param {number} size */
export const within = (at, size) => Math.min(Math.max(at, 0), size - 1);

/** The cell under the pointer. @param {Element} grid @param {MouseEvent} event @param {number} rows @param {number} columns */
export function cellAt(grid, { clientX, clientY }, rows, columns) {
  const box = grid.getBoundingClientRect();
  return {
    row: within(Math.floor((clientY - box.top) / box.height * rows), rows),
    column: within(Math.floor((clientX - box.left) / box.width * columns), columns),
  };
}

/** Offer a file to keep. @param {Blob} content @param {string} name */
export function save(content, name) {
  const link = make("a");
  link.download = name;
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
