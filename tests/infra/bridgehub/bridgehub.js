// Prints what BridgeHub prints. The message names the scene; what follows its name is up to the scene.
const { spawn } = require("node:child_process");
const { readFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const request = JSON.parse(process.argv[process.argv.indexOf("--request") + 1]);
const [scene, ...rest] = request.payload.message.split(" ");

const log = (text) => process.stdout.write(`[BridgeHub] ${text}\n`);
const payload = (told) => process.stdout.write(`JARVIS_PAYLOAD=${JSON.stringify(told)}\n`);
const answer = (output, summary = "Codex responded") =>
  payload({ ok: true, action: "freeform", summary, data: { output } });

/** Stays, with a child of its own, after it has told the test who they are. */
const stay = (child) => {
  const started = spawn(process.execPath, ["-e", child], { stdio: "ignore" });
  writeFileSync(join(request.capsule, "pids"), `${process.pid} ${started.pid}\n`);
  setInterval(() => log("working"), 50);
};
const IDLE = "setInterval(() => {}, 1e6)";
const DEAF = `process.on("SIGTERM", () => {}); ${IDLE}`;

const scenes = {
  say: () => answer(rest.join(" ")),
  request: () => answer(JSON.stringify(request)),
  stdin: () => answer(`[${readFileSync(0, "utf8")}]`),
  long: () => answer("漢字 😀 text. ".repeat(Number(rest[0]))),
  half: () => process.stdout.write('JARVIS_PAYLOAD={"ok":true,"data":{"output":"so \\ud83d"}}\n'),
  refuse: () => payload({ ok: false, reason: "codex_unavailable", details: "at relay.ts:12" }),
  silent: () => log("done"),
  garbage: () => process.stdout.write('JARVIS_PAYLOAD={"ok": tru\n'),
  answerAndExit: () => (answer("So far"), process.exit(3)),
  throw: () => {
    throw new Error("no session");
  },
  complain: () => (process.stderr.write(`${rest.join(" ")}`), process.exit(1)),
  mutter: () => process.stderr.write("nothing to say\n\n  at all\n"),
  die: () => (process.stdout.write('JARVIS_PAYLOAD={"ok":true,"da'), process.kill(process.pid, "SIGKILL")),
  noisy: () => {
    for (let line = 0; line < 5_000; line++) log("x".repeat(100));
    process.stdout.write("y".repeat(1_000_000));
    process.stderr.write("z".repeat(1_000_000) + "\n");
    log("");
    answer("Heard?");
  },
  endless: () => setInterval(() => process.stdout.write("x".repeat(1_000_000)), 1),
  stay: () => stay(IDLE),
  answerAndStay: () => (answer("So far"), stay(IDLE)),
  answerAndLeave: () => {
    spawn(process.execPath, ["-e", IDLE], { stdio: ["ignore", "inherit", "ignore"] }).unref();
    answer("So far");
  },
  stayDeaf: () => (process.on("SIGTERM", () => {}), stay(DEAF)),
};

log(`session ${request.session}`);
scenes[scene]();
