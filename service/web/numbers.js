// Number formatting for display.

/** @param {number} value @param {number} [digits] after the decimal point */
export const decimal = (value, digits = 4) => withMinusSign(value.toFixed(digits));

/** About three significant digits, for narrow places. @param {number} value */
export function compact(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1000 || size < 0.001) return withMinusSign(value.toExponential(0).replace("+", ""));
  return withMinusSign(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3));
}

/** The non-breaking space keeps the sign on the number's line. @param {number} share in [0, 1] */
export const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)}\xa0%`;

/** @param {number} count */
export const integer = (count) => count.toLocaleString("en");

/** @param {number[]} shape */
export const dimensions = (shape) => shape.map(integer).join(" × ");

/** A term of a sum, led by its sign. @param {number} value */
export const signedTerm = (value) => `${value < 0 ? "−" : "+"} ${decimal(Math.abs(value))}`;

/** Replaces the hyphen by a minus sign and drops it from a rounded zero. @param {string} formatted */
const withMinusSign = (formatted) => (/^-[0.]*$/.test(formatted) ? formatted.slice(1) : formatted.replaceAll("-", "−"));
