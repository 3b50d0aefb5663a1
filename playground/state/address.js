/** The page's address names the conversation it shows: `#claude/page-x1y2`. A bookmark or the back button finds it. */

/** @returns {{agent: string, conversation: string} | null} */
export function shown(hash = location.hash) {
  const [agent, conversation] = hash.slice(1).split("/").map(decoded);
  return agent && conversation ? { agent, conversation } : null;
}

/** Add the conversation to the history, or to the present entry if that names none. */
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
