// Shrinks images in the browser: formats that the service does not read (HEIC, SVG, AVIF) and files above its limits.

import { context2d } from "../colours.js";
import { make } from "../elements.js";

/** The longest side of the result: twice the size that the service works at. */
const MAX_SIDE = 448;

/** Signatures of PNG, JPEG, GIF, BMP and WebP, which the service reads. */
const SIGNATURES = [/^\x89PNG/, /^\xff\xd8\xff/, /^GIF8/, /^BM/, /^RIFF[^]{4}WEBP/];

/** Whether the service reads this format. @param {Blob} file */
export async function isSupported(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return SIGNATURES.some((signature) => signature.test(start));
}

/**
 * @param {string} url of an image
 * @param {boolean} isVector
 * @returns {Promise<Blob | undefined>} undefined if the browser cannot decode the image
 */
export async function resizeToPng(url, isVector) {
  const image = make("img");
  image.src = url;
  try {
    await image.decode();
  } catch {
    return undefined;
  }
  // An SVG may have no size of its own.
  let [width, height] = [image.naturalWidth || MAX_SIDE, image.naturalHeight || MAX_SIDE];
  /** @type {CanvasImageSource} */
  let source = image;
  let canvas = make("canvas");
  const scaleBy = (/** @type {number} */ factor) => {
    [width, height] = [width, height].map((side) => Math.max(1, Math.round(side * factor)));
    canvas = make("canvas");
    [canvas.width, canvas.height] = [width, height];
    context2d(canvas).drawImage(source, 0, 0, width, height);
    source = canvas;
  };
  // Halve repeatedly: in one step Firefox and Safari skip pixels, which turns fabric into moiré patterns.
  while (Math.max(width, height) > 2 * MAX_SIDE) scaleBy(0.5);
  const factor = MAX_SIDE / Math.max(width, height);
  scaleBy(isVector ? factor : Math.min(1, factor));
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? undefined), "image/png"));
}
