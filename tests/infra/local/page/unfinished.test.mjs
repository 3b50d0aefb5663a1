import assert from "node:assert/strict";
import { test } from "node:test";

import { settled } from "../../../../infra/local/page/unfinished.js";

const CASES = [
  ["bold that is still open is closed", "so **very", "so **very**"],
  ["bold that is being closed is closed", "so **very*", "so **very**"],
  ["bold that is closed stays", "so **very** much", "so **very** much"],
  ["emphasis that is still open is closed", "so *very", "so *very*"],
  ["a multiplication is left alone", "2 * 3 = 6", "2 * 3 = 6"],
  ["code that is still open is closed", "call `open", "call `open`"],
  ["stars within code are left alone", "call `**` now", "call `**` now"],
  ["a list's bullet is not emphasis", "* one\n* two", "* one\n* two"],
  ["a bullet without its text waits", "- one\n- ", "- one\n"],
  ["a heading without its text waits", "Done.\n\n## ", "Done.\n\n"],
  ["half a fence waits", "Look:\n\n``", "Look:\n\n"],
  ["an open fence is code to the end", "```py\nx = **", "```py\nx = **"],
  ["text after a closed fence is text again", "```\nx\n```\nso **very", "```\nx\n```\nso **very**"],
  ["a table's first line waits", "Look:\n\n| a | b |", "Look:\n\n"],
  ["a table's second line waits until it is whole", "| a | b |\n| --- |", ""],
  ["a table is shown from its second line on", "| a | b |\n| --- | --- |", "| a | b |\n| --- | --- |"],
];

for (const [name, written, shown] of CASES) {
  test(name, () => assert.equal(settled(written), shown));
}
