// Images that only the browser can read (HEIC on Apple's, SVG, maybe AVIF) or that are too large are drawn small here, then sent.

import { context } from "../colours.js";
import { make } from "../elements.js";

/** The longest side of what is sent: twice what the service works on. */
const LONGEST = 448;

/** How the files begin that the service reads: PNG, JPEG, GIF, BMP, and WebP behind its length. */
const BEGINNINGS = [/^\x89PNG/, /^\xff\xd8\xff/, /^GIF8/, /^BM/, /^RIFF[^]{4}WEBP/];

/** Whether the service reads this kind of file; what is no image at all is left to the service to refuse. @param {Blob} file */
export async function isRead(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return BEGINNINGS.some((beginning) => beginning.test(start));
}

/**
 * @param {string} url of an image
 * @param {boolean} isDrawing whose lines have no size of their own
 * @returns {Promise<Blob | undefined>} it as a small PNG; undefined if the browser cannot read it either
 */
export async function shrunk(url, isDrawing) {
  const image = make("img");
  image.src = url;
  try {
    await image.decode();
  } catch {
    return undefined;
  }
  let [width, height] = [image.naturalWidth || LONGEST, image.naturalHeight || LONGEST];
  /** @type {HTMLImageElement | HTMLCanvasElement} */
  let source = image;
  const scaleBy = (/** @type {number} */ share) => {
    [width, height] = [width, height].map((side) => Math.max(1, Math.round(side * share)));
    source = drawn(source, width, height);
  };
  // By halves, since Firefox and Safari take a few pixels of many, which makes patterns of cloth.
  while (Math.max(width, height) > 2 * LONGEST) scaleBy(0.5);
  const share = LONGEST / Math.max(width, height);
  scaleBy(isDrawing ? share : Math.min(1, share));
  return new Promise((done) => /** @type {HTMLCanvasElement} */ (source).toBlob((blob) => done(blob ?? undefined), "image/png"));
}

/** @param {CanvasImageSource} source @param {number} width @param {number} height */
function drawn(source, width, height) {
  const canvas = make("canvas");
  [canvas.width, canvas.height] = [width, height];
  context(canvas).drawImage(source, 0, 0, width, height);
  return canvas;
}
