/** What replies use and what is left of a day, as a person reads it. Pure. */

const COUNTS = {
  input_tokens: "in",
  output_tokens: "out",
  cache_read_input_tokens: "cache read",
  cache_creation_input_tokens: "cache written",
};

/**
 * @param {object} end what a reply's last frame says of it: `model`, `usage` and `cost`, as far as they are known
 * @returns {{text: string, title: string} | null} tokens and cents in a line, and what they are; null if none were counted
 */
export function usedBy({ model, usage = {}, cost }) {
  const counted = Object.entries(COUNTS).filter(([name]) => usage[name] !== undefined);
  if (!counted.length) return null;
  const total = counted.reduce((sum, [name]) => sum + usage[name], 0);
  const counts = counted.map(([name, what]) => `${usage[name].toLocaleString("en")} ${what}`).join(", ");
  const isPriced = cost !== undefined;
  return {
    text: [tokens(total), ...(isPriced ? [money(cost)] : [])].join(" · "),
    title: [counts, model, ...(isPriced ? [exactly(cost)] : [])].filter(Boolean).join("; "),
  };
}

/**
 * @param {object} usage this month's, as `GET /api/usage` has it
 * @returns {string[]} a line of what was used today and, if there is a limit, one of what is left
 */
export function today({ days, limits, left }) {
  const date = new Date(Date.parse(left.day.until) - 1).toISOString().slice(0, 10);
  const used = days.find(({ day }) => day === date)?.used ?? { tokens: 0, dollars: 0 };
  const { tokens_per_day: most, dollars_per_day: dearest } = limits;
  const parts = [most === null ? tokens(used.tokens) : `${used.tokens.toLocaleString("en")} of ${tokens(most)}`];
  if (dearest !== null) parts.push(`${money(used.dollars)} of ${dollars(dearest)}`);
  else if (used.dollars > 0) parts.push(money(used.dollars)); // of models without a price nobody knows
  return [`Today: ${parts.join(", ")}`, ...leftOf(left)];
}

/** A month may have less left than its day, and nothing of one kind left is nothing left. */
function leftOf({ day, month }) {
  const periods = [
    { ...month, text: `this month, until ${dateOf(month.until)}, 00:00 UTC` },
    { ...day, text: "today, until 00:00 UTC" },
  ];
  const empty = periods.find(({ tokens, dollars }) => tokens === 0 || dollars === 0);
  if (empty) return [`Nothing left ${empty.text}`];
  for (const [unit, amount] of [
    ["dollars", dollars],
    ["tokens", tokens],
  ]) {
    const [least] = periods.filter((period) => period[unit] !== null).sort((a, b) => a[unit] - b[unit]);
    if (least) return [`${amount(least[unit])} left ${least.text}`];
  }
  return [];
}

function tokens(count) {
  return `${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`;
}

/** Return an amount of dollars in cents, from a whole dollar on in dollars. */
function money(amount) {
  if (amount >= 1) return dollars(amount);
  return `${(amount * 100).toLocaleString("en", { maximumSignificantDigits: 2 })} ¢`;
}

function dollars(amount) {
  return `$${amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

function exactly(amount) {
  return `$${amount.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 6 })}`;
}

function dateOf(time) {
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "long", timeZone: "UTC" });
}
