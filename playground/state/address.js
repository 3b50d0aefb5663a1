/** Which conversation the page shows, in its address: `#claude/page-x1y2`. It can be kept, gone back to and opened again. */

/** @returns {{agent: string, conversation: string} | null} */
export function shown(hash = location.hash) {
  const [agent, conversation] = hash.slice(1).split("/").map(decoded);
  return agent && conversation ? { agent, conversation } : null;
}

/** Another conversation is shown from now on; without one before, in the same entry of the history. */
export function show(agent, conversation) {
  const hash = `#${[agent, conversation].map(encodeURIComponent).join("/")}`;
  if (hash === location.hash) return;
  if (shown()) history.pushState(null, "", hash);
  else history.replaceState(null, "", hash);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}
