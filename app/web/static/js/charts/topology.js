// Server and clients as a graph, with Cytoscape, which is fetched only here; the table beside it says the same.
import { token } from "../colors.js";
import { useTheme } from "../components/shell.js";
import { standings, standingText, tallyOf } from "../standing.js";
import { html, useEffect, useMemo, useRef, useState } from "../ui.js";
import { ChartFrame } from "./frame.js";
import { save } from "./export.js";

const CYTOSCAPE = "../../vendor/cytoscape.esm.min.mjs";
const RING_PX = 84;
const LABEL_UP_TO = 40; // names drawn at once; above it they appear with the pointer, or for who needs attention
const ATTENTION = new Set(["rejected", "late"]);
const NAMED_UP_TO = 8; // who needs attention is named, unless that is a crowd too
const SHAPES = { rejected: "rectangle", late: "diamond", training: "ellipse", evaluating: "ellipse", answered: "ellipse", idle: "ellipse" };

/** Positions on rings whose circumference gives each node the same room. */
export function ringPlaces(number, room) {
  const radii = [];
  let fits = 0;
  while (fits < number) {
    radii.push(60 + (radii.length + 1) * RING_PX);
    fits += Math.max(6, Math.floor((2 * Math.PI * radii.at(-1)) / room));
  }
  // Shared out by circumference: no ring is left with two nodes on it.
  const around = radii.reduce((sum, radius) => sum + radius, 0);
  const places = [];
  let passed = 0;
  radii.forEach((radius, ring) => {
    passed += radius;
    const here = Math.round((number * passed) / around) - places.length;
    for (let index = 0; index < here; index += 1) {
      const angle = (index / here) * 2 * Math.PI - Math.PI / 2 + ring * 0.3;
      places.push({ x: radius * Math.cos(angle), y: radius * Math.sin(angle) });
    }
  });
  return places;
}

export function Topology({ clients: all, run }) {
  const clients = useMemo(() => standings(all, run), [all, run.state]);
  const total = run.num_clients;
  const box = useRef();
  const graph = useRef(null);
  const theme = useTheme();
  const [failed, setFailed] = useState("");
  const names = clients.map(({ client }) => client).join("\n");
  useEffect(() => {
    let gone = false;
    import(CYTOSCAPE).then(
      ({ default: cytoscape }) => {
        if (gone) return;
        graph.current = cytoscape(optionsOf(box.current, clients));
        paint(graph.current, clients);
      },
      () => setFailed("The graph could not be loaded; the table says the same."),
    );
    return () => {
      gone = true;
      graph.current?.destroy();
      graph.current = null;
    };
  }, [theme, names]);
  useEffect(() => {
    if (graph.current) paint(graph.current, clients);
  }, [clients]);
  const table = () => ({
    columns: ["client", "state", "linked to", "accepted", "refused", "late", "bytes received"],
    rows: clients.map((each) => [each.client, standingText(each.state, run), "server", each.accepted, each.rejected, each.late, each.bytes_received]),
  });
  const png = () => graph.current && save(dataBlob(graph.current), "topology.png");
  const tally = tallyOf(clients);
  const words = tally.map(([state, number]) => `${number} ${standingText(state, run)}`);
  const legend = html`<div class="legend legend-static">
    ${tally.map(([state, number]) => html`<span key=${state} class="legend-item star-key star-${state}">
      <span class="shape shape-${state}"></span>${number} ${standingText(state, run)}</span>`)}
    ${clients.length > LABEL_UP_TO ? html`<span class="legend-x">point at a node for its name</span>` : null}
    ${total > clients.length ? html`<span class="legend-x">${clients.length} of ${total} clients</span>` : null}
  </div>`;
  return html`<${ChartFrame} title="Topology" describe="The server and ${clients.length} clients: ${words.join(", ")}" table=${table} png=${png} legend=${legend}>
    ${failed ? html`<p class="hint">${failed}</p>` : html`<div class="topology" ref=${box}></div>`}
  </${ChartFrame}>`;
}

function dataBlob(graph) {
  return graph.png({ output: "blob", bg: token("--surface"), scale: 2, full: true });
}

function optionsOf(container, clients) {
  const places = ringPlaces(clients.length, clients.length > LABEL_UP_TO ? 34 : 74);
  return {
    container,
    elements: [
      { data: { id: "\u0000server", label: "server", state: "server" }, position: { x: 0, y: 0 } },
      ...clients.map(({ client }, index) => ({ data: { id: client, label: client, state: "idle" }, position: places[index] })),
      ...clients.map(({ client }) => ({ data: { source: "\u0000server", target: client, state: "idle" } })),
    ],
    layout: { name: "preset", fit: true, padding: 24 },
    style: styleSheet(clients.length > LABEL_UP_TO),
    userZoomingEnabled: false, // a wheel over the page scrolls the page
    boxSelectionEnabled: false,
    autoungrabify: true,
    userPanningEnabled: true,
  };
}

function styleSheet(crowded) {
  const size = crowded ? 16 : 24;
  const states = { idle: "--star-idle", training: "--star-work", evaluating: "--star-work", answered: "--star-good", rejected: "--star-bad", late: "--star-warn" };
  return [
    {
      selector: "node",
      style: { width: size, height: size, "font-size": 13, "font-family": "Inter, sans-serif", color: token("--text"), label: crowded ? "" : "data(label)", "text-valign": "bottom", "text-margin-y": 5, "text-background-color": token("--surface"), "text-background-opacity": 0.85, "text-background-padding": 2, "text-max-width": 110, "text-wrap": "ellipsis" },
    },
    { selector: "edge", style: { width: 1.2, opacity: crowded ? 0.45 : 0.8, "line-color": token("--line-strong"), "curve-style": "straight" } },
    ...Object.entries(states).flatMap(([state, color]) => [
      { selector: `node[state = "${state}"]`, style: { "background-color": token(color), shape: SHAPES[state] } },
      { selector: `edge[state = "${state}"]`, style: { "line-color": state === "idle" ? token("--line-strong") : token(color), "line-style": state === "late" ? "dashed" : "solid" } },
    ]),
    { selector: "node.named", style: { label: "data(label)" } },
    { selector: 'node[state = "server"]', style: { width: 42, height: 42, "background-color": token("--accent"), label: "server", "font-weight": 600, shape: "round-rectangle" } },
    { selector: "node.near", style: { label: "data(label)", "border-width": 3, "border-color": token("--accent"), "z-index": 10 } },
  ];
}

function paint(graph, clients) {
  const few = clients.filter(({ state }) => ATTENTION.has(state)).length <= NAMED_UP_TO;
  graph.batch(() => {
    for (const { client, state } of clients) {
      const node = graph.getElementById(client);
      node.data("state", state);
      node.toggleClass("named", few && ATTENTION.has(state));
      node.connectedEdges().data("state", state);
    }
  });
  if (graph.scratch("near")) return;
  graph.scratch("near", true);
  graph.on("mouseover tap", "node", (event) => event.target.addClass("near"));
  graph.on("mouseout", "node", (event) => event.target.removeClass("near"));
}
