/**
 * Which files the relay takes, decided from their first bytes as `chatrelay/domain/attachments.py` does: a file that
 * the relay would refuse with the message is refused when it is chosen. The limits come from the page's configuration.
 */

const IMAGES = {
  "image/jpeg": /^\xff\xd8\xff/,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a PNG begins with them
  "image/png": /^\x89PNG\r\n\x1a\n/,
  "image/gif": /^GIF8[79]a/,
  "image/webp": /^RIFF[\s\S]{4}WEBP/,
};
const PDF = "application/pdf";
const PDF_HEADER = /%PDF-\d/;
/** The header in a file that could also be a text about PDFs. */
const PDF_LINE = /(^|\r|\n|\xef\xbb\xbf)%PDF-\d/;
const PDF_HEADER_WITHIN = 1024;
const TEXT = "text/plain";

/** @returns {Promise<{type: string} | {problem: string}>} what the file is, or why it is refused */
export async function read(file, limits) {
  const refused = (problem) => ({ problem });
  if (file.size === 0) return refused("This file is empty. Choose one with something in it.");
  if (new TextEncoder().encode(file.name).length > limits.name)
    return refused("Its name is too long. Give it a shorter one.");
  let beginning;
  try {
    beginning = new Uint8Array(await file.slice(0, limits.text + 1).arrayBuffer());
  } catch {
    return refused("It cannot be read. Choose it again, if it is no folder and still there.");
  }
  const type = kind(beginning, limits.text);
  if (!type)
    return refused(
      `Not sent: models read pictures (JPEG, PNG, GIF, WebP), PDFs and texts (UTF-8, up to ${most(limits.text)}).`,
    );
  const limit = type in IMAGES ? limits.image : limits.file;
  if (file.size > limit) {
    const what = type in IMAGES ? "A picture" : "A file";
    return refused(`${sizeText(file.size)} is too much. ${what} may have ${most(limit)}: make it smaller.`);
  }
  return { type };
}

/** @returns {string | null} the media type, from at least the first `limit` + 1 bytes of a file */
export function kind(beginning, limit) {
  const characters = Array.from(beginning.subarray(0, PDF_HEADER_WITHIN), (byte) => String.fromCharCode(byte)).join("");
  for (const [type, sign] of Object.entries(IMAGES)) if (sign.test(characters)) return type;
  const isText = readsAsText(beginning, limit);
  if ((isText ? PDF_LINE : PDF_HEADER).test(characters)) return PDF;
  return isText && beginning.length > 0 && beginning.length <= limit ? TEXT : null;
}

/** Whether the bytes are UTF-8. The last character may be cut. */
function readsAsText(beginning, limit) {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(beginning, { stream: beginning.length > limit });
  } catch {
    return false;
  }
  return !beginning.includes(0);
}

/** Return a limit as text, rounded down. */
function most(bytes) {
  return bytes < 1_000_000 ? `${Math.floor(bytes / 1000)} KB` : `${Math.floor(bytes / 100_000) / 10} MB`;
}

export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1000)} KB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
