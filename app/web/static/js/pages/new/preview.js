// What the settings mean before anything runs: the split of the real labels, the privacy it costs, the same as text.
import { post } from "../../api.js";
import { ClassBars } from "../../charts/bars.js";
import { LineChart } from "../../charts/line.js";
import { Card, Code, Empty, Failure, Skeleton } from "../../components/bits.js";
import { count, decimal, epsilon, percent } from "../../format.js";
import { Icon } from "../../icons.js";
import { html, useState } from "../../ui.js";
import { useRested } from "./check.js";

// What the split depends on; other keys do not ask for it again.
const SPLIT_KEYS = ["dataset", "data-dir", "num-examples", "partition", "alpha", "min-partition-size", "shards-per-client", "num-clients", "seed"];
const REST_MS = 500;

export function Preview({ config, check }) {
  const { split, error, busy } = useSplit(config);
  return html`
    ${error ? html`<${Card} title="How the data is split"><${Failure} error=${error} /></${Card}>` : null}
    ${!split && !error ? html`<${Card} title="How the data is split"><${Skeleton} lines=${6} /></${Card}>` : null}
    ${split ? html`<${Split} split=${split} busy=${busy} />` : null}
    ${"dp" in config ? html`<${Epsilon} config=${config} split=${split} />` : null}
    ${check.command ? html`<${Code} label="As a command" text=${check.command} /><${Code} label="As TOML" text=${check.toml} />` : null}
  `;
}

function Split({ split, busy }) {
  return html`<div class="stack">
    <${ClassBars} title="How the data is split" classNames=${split.class_names} histograms=${split.histograms} total=${split.num_clients} busy=${busy} />
    <p class="hint"><span>Drawn from the real labels. Examples a client: smallest ${count(split.smallest)}, median ${count(split.median)}, largest ${count(split.largest)}.</span></p>
  </div>`;
}

function useSplit(config) {
  const [answer, setAnswer] = useState({ split: null, error: null, busy: true });
  const wanted = JSON.stringify(SPLIT_KEYS.map((key) => config[key]));
  useRested(
    wanted,
    async (signal) => {
      setAnswer((old) => ({ ...old, busy: true }));
      try {
        setAnswer({ split: await post("/previews/partition", { config }, signal), error: null, busy: false });
      } catch (error) {
        if (error.name !== "AbortError") setAnswer((old) => ({ split: error.status === 422 ? old.split : null, error, busy: false }));
      }
    },
    REST_MS,
  );
  return answer;
}

function Epsilon({ config, split }) {
  const [answer, setAnswer] = useState(null);
  const on = config.dp === true;
  const query = on && split ? queryOf(config, split) : null;
  useRested(
    JSON.stringify(query),
    async (signal) => {
      if (!query) return;
      try {
        setAnswer({ found: await post("/previews/epsilon", query, signal) });
      } catch (error) {
        if (error.name !== "AbortError") setAnswer({ error });
      }
    },
    REST_MS,
  );
  if (!on) return html`<${Card} title="Privacy estimate"><${Empty} title="Differential privacy is off" icon="shield"><p>Switch on <code>dp</code> to see what it would cost.</p></${Empty}></${Card}>`;
  if (!answer) return html`<${Card} title="Privacy estimate"><${Skeleton} lines=${3} /></${Card}>`;
  if (answer.error) return html`<${Card} title="Privacy estimate"><${Failure} error=${answer.error} /></${Card}>`;
  const { found } = answer;
  return html`<div class="stack">
    <${Card} title="Privacy estimate">
      <p class="estimate">ε ${epsilon(found.epsilon)} <span class="faint">at δ ${decimal(found.delta, 6)} after ${count(config["num-rounds"])} rounds</span></p>
      <dl class="facts">
        <div><dt>Noise multiplier</dt><dd>${decimal(found.noise_multiplier, 3)}</dd></div>
        <div><dt>Steps a client</dt><dd>${count(found.steps)}</dd></div>
        <div><dt>Sample rate</dt><dd>${percent(found.sample_rate, 2)}</dd></div>
        <div><dt>Accountant</dt><dd>${found.accountant.toUpperCase()}</dd></div>
      </dl>
      <p class="faint">For the client with the fewest examples, whose ε is the largest.</p>
      ${found.warning ? html`<p class="hint tone-warn"><${Icon} name="shield" /><span>${found.warning}</span></p>` : null}
    </${Card}>
    <${LineChart} title="ε by round" series=${[{ name: "ε", points: found.by_round, main: true, token: "--series-6" }]} formatY=${epsilon} height=${180} />
  </div>`;
}

function queryOf(config, split) {
  const query = { num_examples: Math.max(1, split.smallest), batch_size: config["batch-size"], local_epochs: config["local-epochs"], num_rounds: config["num-rounds"] };
  if (config["target-epsilon"] > 0) query.target_epsilon = config["target-epsilon"];
  else query.noise_multiplier = config["noise-multiplier"];
  if (config.delta > 0) query.delta = config.delta;
  return query;
}
