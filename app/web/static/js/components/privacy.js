// What the accountants say of a run, or how to have them.
import { PrivacyGauge } from "../charts/gauge.js";
import { count, decimal } from "../format.js";
import { Icon } from "../icons.js";
import { html } from "../ui.js";
import { Empty } from "./bits.js";

const LEVELS = { example: "each training example", client: "each client" };

export function Privacy({ privacy, long }) {
  if (!privacy) {
    return html`<${Empty} title="Differential privacy is off" icon="shield"><p>Turn it on in <a href="/runs/new">a new run</a>, or with <code>--dp</code>.</p></${Empty}>`;
  }
  const facts = [
    ["Protects", LEVELS[privacy.unit] ?? privacy.unit],
    ["δ", decimal(privacy.delta, 6)],
    ["Median over clients", `ε ${decimal(privacy.epsilon_median, 2)}`],
    ...(long
      ? [
          ["Noise multiplier", decimal(privacy.noise_multiplier, 2)],
          ["Clipping norm", decimal(privacy.max_grad_norm, 2)],
          ["Sample rate", decimal(privacy.sample_rate, 4)],
          ["Steps", count(privacy.steps)],
          ["Sampling", privacy.sampler],
        ]
      : []),
    ["Accountant", privacy.accountant.toUpperCase()],
    ["Budgets spent", `${count(privacy.exhausted_clients)} clients`],
  ];
  return html`<div class="privacy">
    <${PrivacyGauge} privacy=${privacy} />
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${privacy.warning ? html`<p class="hint tone-warn"><${Icon} name="shield" /><span>${privacy.warning}</span></p>` : null}
  </div>`;
}
