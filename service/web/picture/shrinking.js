// Pictures that only the browser can read (HEIC on Apple's, AVIF, SVG) or that are too large are drawn small here, then sent.

import { context } from "../colours.js";
import { make } from "../elements.js";

/** The longest side of what is sent: twice what the service works on. */
const LONGEST = 448;

/** How the files begin that the service reads: PNG, JPEG, GIF, BMP, and WebP behind its length. */
const BEGINNINGS = [/^\x89PNG/, /^\xff\xd8\xff/, /^GIF8/, /^BM/, /^RIFF[^]{4}WEBP/];

/** Whether the service reads this kind of file; what is no picture at all is left to the service to refuse. @param {Blob} file */
export async function isRead(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return BEGINNINGS.some((beginning) => beginning.test(start));
}

/**
 * @param {string} url of a picture
 * @returns {Promise<Blob | undefined>} it as a small PNG; undefined if the browser cannot read it either
 */
export async function shrunk(url) {
  const image = make("img");
  image.src = url;
  try {
    await image.decode();
  } catch {
    return undefined;
  }
  // A drawing may have no size of its own.
  const [width, height] = [image.naturalWidth || LONGEST, image.naturalHeight || LONGEST];
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = make("canvas");
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const ink = context(canvas);
  ink.imageSmoothingQuality = "high";
  ink.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob((blob) => done(blob ?? undefined), "image/png"));
}
