import assert from "node:assert/strict";
import { test } from "node:test";
import { inputOf, pagesIn, readable, sections, summaryOf, titleOf } from "../../playground/sections.js";

const PAGE = { title: "Riddles", url: "https://riddles.example/" };

function log(...parts) {
  return parts.map((part, number) => ({ number, ...part }));
}

const message = (content) => ({ type: "message", content });
const thought = (content) => ({ type: "reasoning", content });
const tool = (call, name = "web_search", content = '{"query": "riddles"}') => ({ type: "tool", call, name, content });
const result = (call, fields = {}) => ({ type: "tool_result", call, content: '"Found"', is_error: false, ...fields });
const source = (content, title = "") => ({ type: "source", content, title });

const steps = (isOpen, ...parts) => sections(log(...parts), isOpen).flatMap((section) => section.steps ?? []);

test("the parts stand in their order, and what the model does between two texts is one section", () => {
  const parts = log(
    thought("Hm."),
    tool("a"),
    result("a"),
    message("First."),
    tool("b"),
    { type: "brand_new", content: "?" },
    thought("So."),
    result("b"),
    message("Second."),
    source(PAGE.url, "Riddles"),
    source("javascript:alert(1)"),
    source("http://other.example/"),
  );
  const found = sections(parts, false);
  assert.deepEqual(
    found.map(({ kind, number }) => [kind, number]),
    [
      ["aside", 0],
      ["text", 3],
      ["aside", 4],
      ["text", 8],
      ["sources", 9],
    ],
  );
  assert.deepEqual(
    [found[0], found[2]].map((aside) => aside.steps.map(({ type, state }) => [type, state])),
    [
      [
        ["thought", undefined],
        ["tool", "done"],
      ],
      [
        ["tool", "done"],
        ["thought", undefined],
      ],
    ],
  );
  assert.deepEqual(found[4].pages, [
    { url: PAGE.url, title: "Riddles" },
    { url: "http://other.example/", title: "" },
  ]);
});

test("two texts that follow each other stay two, and only the last one grows", () => {
  const texts = sections(log(message("**One"), message("two")), true);
  assert.deepEqual(
    texts.map(({ content, isOpen }) => [content, isOpen]),
    [
      ["**One", false],
      ["two", true],
    ],
  );
  assert.equal(sections(log(message("One"), tool("a")), true)[0].isOpen, false);
  assert.equal(sections(log(message("One")), false)[0].isOpen, false);
});

test("a tool runs until its whole result is there, wherever that stands, and is unfinished after the end", () => {
  const states = (isOpen, ...parts) => steps(isOpen, ...parts).map(({ state }) => state);
  assert.deepEqual(states(true, tool("a"), tool("b"), result("b")), ["running", "done"]);
  assert.deepEqual(states(true, tool("a"), message("Meanwhile."), result("a", { is_error: true })), ["failed"]);
  assert.deepEqual(states(true, tool("a"), result("a", { size: 100 })), ["running"]);
  assert.deepEqual(states(true, tool("a"), result("a", { size: 7 })), ["done"]);
  assert.deepEqual(states(false, tool("a"), tool("b"), result("b")), ["unfinished", "done"]);
});

const TITLES = [
  ["a thought that grows", [true, thought("Hm")], "Thinking"],
  ["a thought", [false, thought("Hm")], "Thought"],
  ["a search that runs", [true, tool("a")], "Searching the web: riddles"],
  ["a search of which the input is not whole", [true, tool("a", "web_search", '{"que')], "Searching the web"],
  ["a search", [false, tool("a"), result("a")], "Searched the web: riddles"],
  ["a tool that runs", [true, tool("a", "clock", "{}")], "Using clock"],
  ["a tool", [false, tool("a", "clock", "{}"), result("a")], "Used clock"],
  ["a tool that failed", [false, tool("a", "clock", "{}"), result("a", { is_error: true })], "Used clock – failed"],
  ["a tool without a result", [false, tool("a", "clock", "{}")], "Using clock – was not finished"],
];

for (const [name, [isOpen, ...parts], title] of TITLES) {
  test(`${name} is called ${title}`, () => {
    const [step] = steps(isOpen, ...parts);
    assert.deepEqual([titleOf(step), summaryOf([step])], [title, title]);
  });
}

test("several steps share a line: what goes on, or else what was done and how often", () => {
  const done = [thought("Hm."), tool("a"), result("a"), thought("So."), tool("b"), result("b")];
  const clocks = ["c", "d", "e"].flatMap((call) => [tool(call, "clock", "{}"), result(call)]);
  const summary = (isOpen, ...parts) => summaryOf(steps(isOpen, ...parts));
  assert.equal(summary(true, ...done), "Thought, searched the web twice");
  assert.equal(summary(true, ...done, tool("c", "clock", "{}")), "Using clock");
  assert.equal(summary(true, ...done, thought("Now")), "Thinking");
  assert.equal(summary(false, ...done, ...clocks), "Thought, searched the web twice, used clock 3 times");
  const broken = [tool("a"), result("a", { is_error: true }), tool("b"), tool("c")];
  assert.equal(summary(false, ...broken), "Searched the web 3 times, one failed, 2 not finished");
});

test("what the title of a tool says is not said again", () => {
  assert.equal(inputOf({ name: "web_search", input: '{"query": "riddles"}' }), "");
  assert.equal(inputOf({ name: "clock", input: "{}" }), "");
  assert.equal(inputOf({ name: "clock", input: '{"zone": "UTC"}' }), '{\n  "zone": "UTC"\n}');
  assert.equal(inputOf({ name: "find", input: '{"query": "riddles"}' }), '{\n  "query": "riddles"\n}');
});

test("pages are known by their addresses; anything else is text", () => {
  const found = (value) => pagesIn({ content: JSON.stringify(value) });
  assert.deepEqual(found([PAGE]), [PAGE]);
  for (const other of [[], [PAGE, {}], [{ url: "javascript:alert(1)" }], { url: PAGE.url }, "Found", null, [null]]) {
    assert.equal(found(other), null);
  }
  assert.equal(pagesIn({ content: '[{"url": "https://cut.ex' }), null);
  assert.deepEqual(['"12:00\\n"', '{"a":1}', '[{"cut'].map(readable), ["12:00\n", '{\n  "a": 1\n}', '[{"cut']);
});
