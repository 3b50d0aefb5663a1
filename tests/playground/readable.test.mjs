import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { kind, read } from "../../playground/readable.js";

const LIMITS = { text: 256 * 1024, image: 3_932_160, file: 10_485_760, name: 255 };
const TABLE = JSON.parse(readFileSync(new URL("../layers/chatrelay/domain/first_bytes.json", import.meta.url)));
const PNG = "\x89PNG\r\n\x1a\n";

const file = (name, text, size = text.length) =>
  new File([Buffer.from(text, "latin1"), new Uint8Array(size - text.length)], name);

test("the first bytes say what a file is, here as at the relay", () => {
  for (const { bytes, times, then, type } of TABLE) {
    const beginning = Buffer.from(bytes.repeat(times) + then, "latin1");
    assert.equal(kind(beginning, LIMITS.text), type, JSON.stringify({ bytes, times, then }));
  }
});

test("a file is what its bytes are, whatever it is called", async () => {
  assert.deepEqual(await read(file("notes.zip", "Hello"), LIMITS), { type: "text/plain" });
});

test("what the relay would refuse is refused with what would be taken, in the units that people use", async () => {
  const problems = {
    "void.txt": ["", 0, "This file is empty."],
    "archive.zip": [
      "PK\x03\x04\xff",
      5,
      "models read pictures (JPEG, PNG, GIF, WebP), PDFs and texts (UTF-8, up to 262 KB)",
    ],
    "big.png": [PNG, 4_000_000, "4.0 MB is too much. A picture may have 3.9 MB"],
    "big.pdf": ["%PDF-1.4\n\xff", 11_000_008, "11.0 MB is too much. A file may have 10.4 MB"],
    [`${"x".repeat(252)}.txt`]: ["Hello", 5, "Its name is too long"],
  };
  for (const [name, [text, size, sentence]] of Object.entries(problems)) {
    const { problem } = await read(file(name, text, size), LIMITS);
    assert.ok(problem.includes(sentence), problem);
  }
});
