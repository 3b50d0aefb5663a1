/** Names that nobody else draws. `crypto.randomUUID` exists only on pages that browsers call secure. */

/** Return that many random bytes, as hexadecimal digits. */
export function hex(bytes) {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(drawn, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
