/** Who is asked: one choice an agent, which the arrow keys move (ARIA's radio group). */

import { button } from "./dom.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export class AgentChoice {
  #group;

  /**
   * @param {HTMLElement} group
   * @param {{agent: string, name: string}[]} agents
   * @param {(agent: string) => void} choose
   */
  constructor(group, agents, choose) {
    this.#group = group;
    group.append(...agents.map((agent) => choiceOf(agent, choose)));
    group.addEventListener("keydown", ({ key }) => {
      if (!STEPS[key]) return;
      const choices = [...group.children];
      const at = choices.findIndex((choice) => choice.getAttribute("aria-checked") === "true");
      const next = choices[(at + STEPS[key] + choices.length) % choices.length];
      choose(next.dataset.agent);
      next.focus();
    });
  }

  mark(agent) {
    for (const choice of this.#group.children) {
      choice.setAttribute("aria-checked", String(choice.dataset.agent === agent));
      choice.tabIndex = choice.dataset.agent === agent ? 0 : -1;
    }
  }
}

function choiceOf({ agent, name }, choose) {
  const choice = button("", name, () => choose(agent));
  choice.dataset.agent = agent;
  choice.dataset.testid = `agent-${agent}`;
  choice.setAttribute("role", "radio");
  return choice;
}
