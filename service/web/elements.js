// DOM helpers.

/**
 * Finds an element that must exist and have this type.
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
 * @param {((event: MouseEvent) => void) | undefined} onClick undefined where an ancestor handles the click
 * @param {...(string | Node)} content
 */
export function makeButton(className, onClick, ...content) {
  const button = make("button", className, ...content);
  button.type = "button";
  if (onClick) button.addEventListener("click", onClick);
  return button;
}

/** Sets the ARIA role and the accessible name. @param {HTMLElement} element @param {string} role @param {string} label */
export const setRole = (element, role, label) => Object.assign(element, { role, ariaLabel: label });

/**
 * Makes a group of buttons one tab stop; the arrow keys move within it.
 * @param {HTMLElement} group its children that are buttons
 */
export function addRovingTabindex(group) {
  const buttons = () => /** @type {HTMLButtonElement[]} */ ([...group.querySelectorAll(":scope > button:not(:disabled)")]);
  /** @param {HTMLButtonElement} current */
  const setTabStop = (current) => buttons().forEach((button) => { button.tabIndex = button === current ? 0 : -1; });
  const [first] = buttons();
  if (first) setTabStop(group.querySelector("button[aria-pressed=true]") ?? first);
  group.addEventListener("focusin", ({ target }) => target instanceof HTMLButtonElement && setTabStop(target));
  group.addEventListener("keydown", (event) => {
    const all = buttons();
    const index = all.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    if (index < 0) return;
    const columns = all.filter((button) => button.offsetTop === all[0].offsetTop).length;
    const next = { ArrowRight: index + 1, ArrowLeft: index - 1, ArrowDown: index + columns, ArrowUp: index - columns, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    all[clampIndex(next, all.length)].focus();
  });
}

/** Arrow keys as [rows down, columns right]. */
export const ARROW_STEPS = new Map([["ArrowUp", [-1, 0]], ["ArrowDown", [1, 0]], ["ArrowLeft", [0, -1]], ["ArrowRight", [0, 1]]]);

/** @param {number} index @param {number} size */
export const clampIndex = (index, size) => Math.min(Math.max(index, 0), size - 1);

/** The cell under the pointer. @param {Element} grid @param {MouseEvent} event @param {number} rows @param {number} columns */
export function cellAt(grid, { clientX, clientY }, rows, columns) {
  const box = grid.getBoundingClientRect();
  return {
    row: clampIndex(Math.floor((clientY - box.top) / box.height * rows), rows),
    column: clampIndex(Math.floor((clientX - box.left) / box.width * columns), columns),
  };
}

/**
 * Moves through the cells of a grid by arrow keys and pointer.
 * @param {HTMLElement} grid
 * @param {() => {row: number, column: number, rows: number, columns: number}} current
 * @param {(row: number, column: number) => void} moveTo
 */
export function addCellNavigation(grid, current, moveTo) {
  grid.addEventListener("keydown", (event) => {
    const step = ARROW_STEPS.get(event.key);
    if (!step) return;
    event.preventDefault();
    const { row, column } = current();
    moveTo(row + step[0], column + step[1]);
  });
  for (const type of /** @type {const} */ (["pointermove", "pointerdown"])) {
    grid.addEventListener(type, (event) => {
      const { rows, columns } = current();
      const { row, column } = cellAt(grid, event, rows, columns);
      moveTo(row, column);
    });
  }
}

/** @param {Blob} content @param {string} name */
export function download(content, name) {
  const link = make("a");
  link.download = name;
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
