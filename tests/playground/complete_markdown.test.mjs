import assert from "node:assert/strict";
import { test } from "node:test";
import { completed } from "../../playground/complete_markdown.js";
import { parse, render } from "../../playground/markdown.js";

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
  ["code in a list is left alone", "1. Step:\n\n    ```c\n    int **p", "1. Step:\n\n    ```c\n    int **p"],
  ["code in a quote is left alone", "> ```\n> a **b", "> ```\n> a **b"],
  ["code that begins with its item is left alone", "- ```c\n  int **p", "- ```c\n  int **p"],
  ["code two lists deep is left alone", "- a\n  - b\n\n    ```\n    x **y", "- a\n  - b\n\n    ```\n    x **y"],
  ["indented code is left alone", "So:\n\n    int **p", "So:\n\n    int **p"],
  ["what is preformatted is left alone", "<pre>\nint **p", "<pre>\nint **p"],
  ["code between two back quotes is closed by two", "so ``a ` **b", "so ``a ` **b``"],
  ["half the end of a fence waits", "~~~~\nx\n~~~", "~~~~\nx"],
  ["emphasis in a list in a quote is closed", "> - so **very", "> - so **very**"],
  ["an item within an item waits for its text", "- a\n  - ", "- a\n"],
  ["a cell's emphasis is closed", "| a |\n| --- |\n| **b", "| a |\n| --- |\n| **b**"],
  ["what spans lines is closed", "**so\nvery", "**so\nvery**"],
  ["a formula is closed", "so \\(x_1*y", "so \\(x_1*y\\)"],
  ["a link is closed", "see [there](https://a.ex", "see [there](https://a.ex)"],
  ["an escaped asterisk opens nothing", "so \\*very", "so \\*very"],
];

for (const [name, written, shown] of CASES) {
  test(name, () => assert.equal(completed(written), shown));
}

// Each ends with nothing open.
const TEXTS = [
  "# A **bold** title\n\nSome *words*, `code **here**`, and ``two ` quotes``.\n\n- one **two** three\n- four `**` five\n",
  "1. Step:\n\n   ```c\n   int **p = *q;\n   ```\n\n2. **Then**:\n   - deep\n\n     ~~~~py\n     x ** y ** z\n     ~~~~\n\nEnd.",
  "> Quoted *so*:\n>\n> ```\n> a **b\n> ```\n>\n> - and **so** on\n\nEnd **of** it.",
  "So:\n\n    int **p;\n    *p = **q;\n\nAnd `a*b*c`.\n",
  "| a | b |\n| --- | ---: |\n| **x** | `y ** z` |\n| *u* | v |\n\nAfter ~~it~~ that.",
  "The area is \\(x_1*y_1\\), of $a_1*b_1$ too:\n\n\\[\na_1*b_1 \\\\\nc*d\n\\]\n\nIt costs $5, not $6. **Good**.",
  "- [ ] open **task**\n- [x] done\n\n---\n\nSee [the **page**](https://a.example/x_y_z) and __all__ of it.",
];

TEXTS.forEach((text, index) => {
  test(`no beginning of text ${index} shows in its code what is not in the whole`, () => {
    const whole = codes(parse(text));
    for (const written of beginnings(text)) {
      codes(parse(completed(written))).forEach((code, at) => {
        assert.ok(whole[at]?.startsWith(code.trimEnd()), `${JSON.stringify(written)} shows ${JSON.stringify(code)}`);
      });
    }
  });

  test(`no beginning of text ${index} shows an asterisk outside code`, () => {
    for (const written of beginnings(text)) {
      // A dollar may be a price's as long as no other one follows.
      const shown = render(parse(completed(written))).replace(/<code>.*?<\/code>|\$[^<]*/gs, "");
      assert.doesNotMatch(shown, /\*|~~|\\|`/, JSON.stringify(written));
    }
  });

  test(`text ${index} is itself when it is there`, () => {
    assert.equal(render(parse(completed(text))), render(parse(text)));
  });
});

function beginnings(text) {
  return Array.from(text, (_, length) => text.slice(0, length + 1));
}

/** The texts of all code, in the order of the text. */
function codes(tokens) {
  return tokens.flatMap((token) => {
    if (token.type === "code" || token.type === "codespan") return [token.text];
    if (token.type === "formula" || token.type === "formulas") return [token.text.replace(/\s*\\[)\]]$/, "")];
    const cells = token.type === "table" ? [...token.header, ...token.rows.flat()] : [];
    return codes([...(token.items ?? []), ...cells, ...(token.tokens ?? [])]);
  });
}
