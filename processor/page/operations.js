// Health.

function judge(status) {
  const { live, ready } = status.health;
  const { assigned, lag } = status.partitions;
  const causes = (verdict) => verdict.reasons.map((reason) => reason.cause);
  const texts = (verdict) => verdict.reasons.map((reason) => reason.text);
  if (!live.ok) {
    const stuck = causes(live).includes("loop_stuck");
    const still = status.partitions.inputs.filter((one) => one.state === "stalled").length;
    const headline = stuck ? "The loop stands still"
      : `${many(still, "partition")} ${still === 1 ? "stands" : "stand"} still`;
    return { state: "bad", headline, detail: "Not live: a supervisor that asks livez starts the worker again.", reasons: texts(live) };
  }
  if (!ready.ok) {
    const cause = causes(ready)[0];
    const headline = { starting: "Starting", stopping: "Stopping", not_in_group: "Joining the group",
      restoring: "Restoring state", waiting: "Waiting for partitions" }[cause] || "Not ready";
    const restoring = status.restore.length
      ? `${percent(sum(status.restore.map((one) => one.share)) / status.restore.length)} of ${many(status.restore.length, "partition")}${status.partitions.running ? "; the others work on" : ""}.` : "";
    return { state: "busy", headline, detail: restoring, reasons: cause === "restoring" ? [] : texts(ready) };
  }
  if (!assigned) return { state: "good", headline: "Ready, without a partition", detail: "The group has more workers than partitions; this one takes over when another leaves.", reasons: [] };
  const left = lag ? `${many(lag, "record")} left` : "nothing is left";
  return { state: "good", headline: "Working", detail: `${many(assigned, "partition")}, all processed; ${left}.`, reasons: [] };
}

const percent = (share) => `${share < 1 ? Math.floor(share * 100) : 100} %`;

function showVerdict(verdict, health, name) {
  document.body.classList.toggle("gone", verdict.state === "gone");
  when("verdict", verdict.state, (node) => {
    node.dataset.state = verdict.state;
    const svg = draw("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" });
    svg.append(draw("circle", { cx: 12, cy: 12, r: 10.5 }), draw("path", { d: MARKS[verdict.state] }));
    $("mark").replaceChildren(svg);
  });
  write("headline", verdict.headline);
  write("detail", verdict.detail);
  when("reasons", verdict.reasons, (node) => node.replaceChildren(...verdict.reasons.map((text) => make("li", { text }))));
  for (const id of ["live", "ready"]) {
    const ok = health ? health[id].ok : null;
    when(id, ok, (node) => {
      node.dataset.ok = String(ok);
      node.lastElementChild.textContent = ok === null ? "?" : ok ? "✓ yes" : "✕ no";
    });
  }
  const title = `${{ good: "✓", busy: "…", bad: "✕", gone: "✕" }[verdict.state]} ${verdict.headline} · ${name}`;
  if (document.title !== title) document.title = title;
}

// Figures.

function figures(status) {
  const history = status.history;
  const n = history.at.length;
  const from = Math.max(0, n - 12); // About a minute.
  const minute = sum(history.seconds.slice(from)) || 1;
  const all = Object.values(history.outcomes);
  const perSecond = (values) => (n ? sum(values.slice(from)) / minute : null);
  const figure = (value) => (value === null ? "–" : rate(value));
  const events = n ? sum(all.map((values) => sum(values.slice(from)))) / minute : null;
  const dead = sum(history.outcomes.dead_lettered);
  const done = sum(all.map(sum)) - sum(history.outcomes.forwarded);
  const aborted = sum(history.aborted);
  const delayAt = history.delay_median.findLastIndex((value) => value !== null);
  const delay = delayAt < 0 ? null : history.delay_median[delayAt];
  const [, amount, unit] = delay === null ? [null, "–", ""] : span(delay).match(/^(.*) (\S+)$/);
  const minutes = n ? `last ${span(sum(history.seconds))}` : "no sample yet";
  return [
    { name: "Events", figure: figure(events), unit: "/s", beside: `${count(sum(Object.values(status.outcomes)))} since start` },
    { name: "Changes published", figure: figure(perSecond(history.outcomes.published)), unit: "/s", beside: `${count(status.outcomes.published)} since start` },
    { name: "Records left", figure: count(status.partitions.lag), unit: "", beside: status.partitions.oldest_s === null ? `in ${many(status.partitions.assigned, "partition")}` : `the oldest is ${span(status.partitions.oldest_s)} old` },
    { name: "Delay, median", figure: amount, unit, beside: delay === null ? "nothing read yet" : `95 % within ${span(history.delay_p95[delayAt])}` },
    { name: "Dead letters", figure: count(dead), unit: "", beside: dead ? `${tenth.format(100 * dead / Math.max(1, done))} % of events, ${minutes}` : minutes, tone: dead ? "warn" : "" },
    { name: "Transactions", figure: figure(perSecond(history.committed)), unit: "/s", beside: aborted ? `${count(aborted)} aborted, ${minutes}` : `none aborted, ${minutes}`, tone: aborted ? "warn-beside" : "" },
  ];
}

function showTiles(status) {
  when("tiles", figures(status), (node, tiles) => node.replaceChildren(...tiles.map((tile) => {
    const figure = make("dd", { class: "figure", text: tile.figure });
    if (tile.unit) figure.append(make("small", { text: tile.unit }));
    return make("div", { "data-tone": tile.tone || "" }, make("dt", { text: tile.name }), figure, make("dd", { class: "beside", text: tile.beside }));
  })));
}

function showRestore(restores) {
  $("restore").hidden = !restores.length;
  if (!restores.length) return;
  const more = restores.length - RESTORES;
  const left = sum(restores.map((one) => one.left ?? 0));
  write("restore-note", `${many(restores.length, "partition")} read the changelog; ${many(left, "offset")} left, ${percent(sum(restores.map((one) => one.share)) / restores.length)} on average.${more > 0 ? ` The first ${RESTORES} are shown.` : ""}`);
  when("restores", restores, (node) => node.replaceChildren(...restores.slice(0, RESTORES).map((one) => make("li", {},
    make("span", { text: `partition ${one.partition}` }), bar(one.share), make("output", { text: percent(one.share) })))));
}

function showPartitions({ inputs, assigned, left_out: leftOut, standbys }) {
  const most = Math.max(1, ...inputs.map((one) => one.lag || 0));
  const rows = inputs.map((one) => {
    const lag = make("div", {}, bar((one.lag || 0) / most), make("output", { text: one.lag === null ? "?" : count(one.lag) }));
    const state = one.state === "stalled" ? `stands still for ${span(one.still_s)}` : one.state;
    return {
      key: [one.topic, one.partition, one.lag, one.oldest_s, state, most], state: one.state,
      cells: [named(`${one.topic}[${one.partition}]`), lag, one.oldest_s === null ? "·" : span(one.oldest_s), make("span", { class: "state", "data-state": one.state, text: state })],
    };
  });
  table("partitions", [["Partition"], ["Records left", "lag"], ["Oldest", "number spare"], ["State", "last"]], rows);
  const others = leftOut ? ` The ${inputs.length} with the most left are listed.` : "";
  write("partitions-note", assigned ? `${many(assigned, "input partition")}, those with the most left first.${others}${standbys ? ` Replicas are kept of ${many(standbys, "other")}.` : ""}` : "None assigned.");
}

function showLists(status) {
  const letters = status.dead_letters;
  write("letters-note", letters.length ? "Why and where; the record itself is in the dead-letter topic." : "None since the worker started.");
  table("letters", [["Time", "clock"], ["Reason"], ["Carrier"], ["Stage", "spare"], ["Place"]], letters.map((one) => ({
    key: Object.values(one),
    cells: [make("time", { text: timeOf(one.at), datetime: new Date(one.at * 1000).toISOString() }), named(one.reason), one.carrier, one.stage,
      named(`${one.topic}[${one.partition}]@${one.offset}${one.element > 0 ? ` #${one.element}` : ""}`)],
  })));
  const unmapped = status.unmapped;
  write("unmapped-note", unmapped.length ? "A row in the carrier's pack makes each a status; until then they are dead letters." : "Every status so far has a row in a pack.");
  table("unmapped", [["Carrier"], ["Channel", "spare"], ["Status"], ["Code"], ["Events", "number"]], unmapped.map((one) => ({
    key: Object.values(one),
    cells: [one.carrier, one.channel || "·", named(one.status || "·"), named(one.error_code || "·"), count(one.events)],
  })));
  write("carriers-note", status.carriers.length ? "Events since the worker started." : "No event yet.");
  table("carriers", [["Carrier"], ["Events", "number"], ["Changes", "number"], ["Dead letters", "number"]], status.carriers.map((one) => ({
    key: Object.values(one),
    cells: [one.carrier, count(one.events), count(one.published), one.dead_lettered ? `${count(one.dead_lettered)} (${tenth.format(100 * one.dead_lettered / one.events)} %)` : "0"],
  })));
  const versions = status.versions;
  const facts = [
    ...Object.entries(status.transactions).map(([result, value]) => [`Transactions ${result.replace("_", ", ")}`, count(value)]),
    ["Messages in local state", count(status.state_entries)],
    ["Processor", versions.processor], ["Python", versions.python], ["librdkafka", versions.librdkafka], ["Codec", versions.codec],
    ["Carrier packs", versions.packs ?? "–"], ["Group protocol", versions.group_protocol ?? "–"],
    ["Partitions of state", versions.partitions],
  ];
  when("facts", facts, (node) => node.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: String(value) })])));
}

// The round.

const nameOf = ({ application, ordinal }) => `${application}, worker ${ordinal ?? "?"}`;

function show(status) {
  last = status;
  const name = nameOf(status.worker);
  const group = status.worker.group === status.worker.application ? "" : ` · group ${status.worker.group}`;
  write("who", `${name}${group} · up for ${span(status.at - status.worker.started_at)}`);
  write("when", `As of ${timeOf(status.at)}, every ${EVERY_MS / 1000} s`);
  showVerdict(judge(status), status.health, name);
  $("shown").hidden = false;
  showTiles(status);
  showRestore(status.restore);
  showPartitions(status.partitions);
  showLists(status);
  showCharts(status);
}

function gone() {
  const since = answeredAt === null ? "" : ` since ${clock.format(answeredAt)}`;
  write("when", "Asking again …");
  showVerdict({
    state: "gone", headline: `No answer from the worker${since}`,
    detail: answeredAt === null ? "It may be down, or this page cannot reach it." : "It may be down, or this page cannot reach it; what is shown below is from then.",
    reasons: [],
  }, null, last ? nameOf(last.worker) : "Message status processor");
}

async function answer() {
  try {
    const response = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

async function ask() {
  clearTimeout(timer);
  const status = await answer();
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, EVERY_MS);
  if (status) {
    answeredAt = new Date();
    show(status);
  } else {
    gone();
  }
}

for (const id of Object.keys(ROWS)) {
  $(`${id}-more`).addEventListener("click", () => {
    if (!unfolded.delete(id)) unfolded.add(id);
    if (last) show(last);
  });
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else ask();
});
new ResizeObserver(() => { if (last) showCharts(last); }).observe($("main"));
ask();
