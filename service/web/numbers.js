// Numbers as people read them.

/** Four decimals, with a real minus sign. @param {number} value */
export const decimal = (value, digits = 4) => signed(value.toFixed(digits));

/** For where there is little room: about three digits. @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1000 || size < 0.001) return signed(value.toExponential(0).replace("+", ""));
  return signed(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3));
}

/** The sign stays on the number's line. @param {number} share in [0, 1] */
export const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)}\xa0%`;

/** @param {number} count */
export const whole = (count) => count.toLocaleString("en");

/** @param {number[]} shape */
export const sizes = (shape) => shape.map(whole).join(" × ");

/** In a sum: with its sign before it. @param {number} value */
export const added = (value) => `${value < 0 ? "−" : "+"} ${decimal(Math.abs(value))}`;

/** @param {string} written */
function signed(written) {
  if (/^-[0.]*$/.test(written)) return written.slice(1);
  return written.replaceAll("-", "−");
}
