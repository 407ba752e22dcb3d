"use strict";
// The operations page: asks for status.json every two seconds and draws it. What was said outside is written as text,
// never as markup. This file has the words and the document, charts.js the pictures, operations.js the rest.

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;
const SPAN_S = 900;
const GAP_S = 15;
const ROWS = { partitions: 12, letters: 10, unmapped: 10, carriers: 10 };
const RESTORES = 48;
const SERIES = [ // From the bottom of the stack to its top.
  { key: "published", name: "Changes published", parts: ["published"] },
  { key: "forwarded", name: "Forwarded to the owner", parts: ["forwarded"] },
  { key: "suppressed", name: "Suppressed", parts: ["repeat", "late", "conflict", "part"] },
  { key: "ignored", name: "Ignored", parts: ["ignored"] },
  { key: "dead", name: "Dead letters", parts: ["dead_lettered"] },
];
const MARKS = { good: "M5 12.5l4.5 4.5L19 7.5", busy: "M12 6v6l4 2.5", bad: "M12 6v7.5M12 17.4v.2", gone: "M7 7l10 10M17 7L7 17" };

const $ = (id) => document.getElementById(id);
let last = null; // The last answer.
let answeredAt = null;
let timer = 0;
const unfolded = new Set(); // Tables that are shown whole.
const shown = new Map(); // What a part of the page shows, so that it is touched only when that changes.
const cursors = new Map(); // Where each chart's cursor stands: a time, or nothing.

// Words and numbers.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const count = (value) => (value >= 1e6 ? short : whole).format(value);
const rate = (value) => (value > 0 && value < 10 ? tenth.format(value) : count(value));
const many = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
const timeOf = (seconds) => clock.format(new Date(seconds * 1000));
const sum = (values) => values.reduce((all, value) => all + value, 0);

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds <= 0.001) return "< 1 ms"; // Also where the edge's clock is ahead of this one.
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(2))} ms`;
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// The document.

function make(name, facts = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(facts)) {
    if (key === "text") node.textContent = value;
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function draw(name, facts, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(facts)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function when(id, value, build) {
  const key = JSON.stringify(value);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  build($(id), value);
}

const write = (id, text) => when(id, text, (node) => { node.textContent = text; });

// A long name may be broken behind its marks, rather than anywhere.
function named(text) {
  const node = make("code");
  text.split(/(?<=[._@/-])|(?=\[)/).forEach((part, n) => node.append(...(n ? [make("wbr"), part] : [part])));
  return node;
}

function bar(share) {
  const fill = make("i");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, fill);
}

function table(id, heads, all) {
  const folded = all.length > ROWS[id] && !unfolded.has(id);
  const rows = folded ? all.slice(0, ROWS[id]) : all;
  const button = $(`${id}-more`);
  button.hidden = all.length <= ROWS[id];
  button.setAttribute("aria-expanded", String(!folded));
  write(button.id, folded ? `Show all ${all.length}` : `Show the first ${ROWS[id]} only`);
  when(id, rows.map((row) => row.key), (node) => {
    if (!rows.length) return node.replaceChildren();
    const head = make("tr", {}, ...heads.map(([text, kind]) => make("th", { scope: "col", text, class: kind || "" })));
    const body = rows.map(({ cells, state }) => make("tr", state ? { "data-state": state } : {},
      ...cells.map((cell, at) => {
        const td = make("td", { class: heads[at][1] || "" });
        td.append(cell);
        return td;
      })));
    node.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  });
}
