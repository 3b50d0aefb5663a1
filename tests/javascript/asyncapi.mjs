// Says what is wrong with an AsyncAPI document, as AsyncAPI's own parser sees it.

import { readFileSync } from "node:fs";

import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { path, message } of diagnostics) console.error(`${process.argv[2]}: ${path.join(".")}: ${message}`);
process.exitCode = document && diagnostics.length === 0 ? 0 : 1;
