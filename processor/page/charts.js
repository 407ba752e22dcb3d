// Charts.

const LEFT = 52, RIGHT = 6, TOP = 8, BOTTOM = 18; // Room around a picture, for its words.

function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

function linear(values) {
  const top = ceiling(Math.max(0, ...values));
  return { of: (value) => value / top, ticks: [0, top / 2, top], label: rate };
}

function decades(values) {
  const known = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(0.01, ...known)));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(0.1, ...known))));
  const step = Math.ceil((high - low) / 4);
  const ticks = [];
  for (let at = low; at <= high; at += step) ticks.push(10 ** at);
  return { of: (value) => (Math.log10(value) - low) / (high - low), ticks, label: (value) => span(value).replace("< ", "") };
}

function hatch(id, colour) {
  const pattern = draw("pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(draw("rect", { width: 5, height: 5, fill: colour }), draw("rect", { width: 1.6, height: 5, fill: "var(--surface)", opacity: 0.75 }));
  return pattern;
}

// Runs of samples without a gap: where the loop stood still nothing is drawn.
function runs(at, known) {
  const found = [];
  at.forEach((time, n) => {
    if (!known(n)) return;
    const run = found[found.length - 1];
    if (run && run[run.length - 1] === n - 1 && time - at[n - 1] <= GAP_S) run.push(n);
    else found.push([n]);
  });
  return found;
}

function axes(svg, { width, height, x, y, now }, scale) {
  for (const tick of scale.ticks) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      draw("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, scale.label(tick)));
  }
  for (const minutes of [15, 10, 5, 0]) {
    const anchor = minutes === 0 ? "end" : minutes === 15 ? "start" : "middle";
    svg.append(draw("text", { x: x(now - minutes * 60), y: height - 3, "text-anchor": anchor }, minutes ? `−${minutes} min` : "now"));
  }
}

function plot(id, now, at, bands, scale, readout) {
  const node = $(id);
  const width = node.clientWidth, height = node.clientHeight;
  if (!width || !height) return;
  const x = (time) => LEFT + (width - LEFT - RIGHT) * (1 - (now - time) / SPAN_S);
  const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - scale.of(value));
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  axes(svg, { width, height, x, y, now }, scale);
  if (!at.length) svg.append(draw("text", { class: "empty", x: (LEFT + width) / 2, y: height / 2, "text-anchor": "middle" }, "The first sample comes after 5 s"));
  const inside = at.map((time) => time > now - SPAN_S - 1);
  for (const band of bands) {
    for (const run of runs(at, (n) => inside[n] && band.high[n] !== null && !(band.pattern && band.high[n] === band.low[n]))) {
      const points = run.map((n) => `${x(at[n]).toFixed(1)},${y(band.high[n]).toFixed(1)}`);
      if (run.length === 1) points.push(`${(x(at[run[0]]) + 2).toFixed(1)},${y(band.high[run[0]]).toFixed(1)}`);
      if (band.low) {
        const back = run.map((n) => `${x(at[n]).toFixed(1)},${y(band.low[n]).toFixed(1)}`).reverse();
        svg.append(draw("path", { d: `M${points.join("L")}L${back.join("L")}Z`, fill: band.fill }));
      }
      if (band.stroke) svg.append(draw("path", { d: `M${points.join("L")}`, fill: "none", stroke: band.stroke, "stroke-width": 2, "stroke-dasharray": band.dash || "none" }));
    }
    if (band.pattern) svg.prepend(hatch(band.pattern, band.colour));
  }
  let n = at.length - 1;
  const cursor = cursors.get(id);
  if (cursor !== undefined && at.length) {
    n = at.reduce((best, time, place) => (Math.abs(time - cursor) < Math.abs(at[best] - cursor) ? place : best), 0);
    svg.append(draw("line", { class: "cursor", x1: x(at[n]), x2: x(at[n]), y1: TOP, y2: height - BOTTOM }));
  }
  node.replaceChildren(svg);
  write(`${id}-readout`, n < 0 ? "" : `${cursor === undefined ? "Now" : timeOf(at[n])}: ${readout(n)}`);
  node.setAttribute("aria-label", n < 0 ? "no sample yet" : `Chart of the last 15 minutes. ${readout(at.length - 1)}`);
}

function showCharts(status) {
  const { at, seconds, outcomes, lag, delay_median: median, delay_p95: p95 } = status.history;
  let below = at.map(() => 0);
  const bands = SERIES.map(({ key, name, parts }) => {
    const rates = at.map((_, n) => sum(parts.map((part) => outcomes[part][n])) / seconds[n]);
    const low = below;
    const high = low.map((value, n) => value + rates[n]);
    below = high;
    const colour = `var(--${key})`;
    const pattern = key === "dead" ? "hatched" : null;
    return { key, name, rates, low, high, colour, pattern, fill: pattern ? `url(#${pattern})` : colour, stroke: pattern ? colour : null };
  });
  plot("events", status.at, at, bands, linear(below), (n) => `${rate(below[n])} events/s, ${rate(bands[0].rates[n])} of them changes, ${rate(bands[4].rates[n])} dead letters`);
  const present = at.length - 1;
  when("events-legend", bands.map((band) => (present < 0 ? "–" : rate(band.rates[present]))), (node, rates) => node.replaceChildren(...bands.map((band, n) => {
    const swatch = draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
    if (band.pattern) swatch.append(hatch("hatched-swatch", band.colour));
    swatch.append(draw("rect", { width: 12, height: 12, fill: band.pattern ? "url(#hatched-swatch)" : band.colour }));
    return make("li", {}, swatch, make("span", { text: band.name }), make("b", { text: `${rates[n]}${present < 0 ? "" : "/s"}` }));
  })));
  plot("delay", status.at, at, [
    { high: p95, stroke: "var(--suppressed)", dash: "2 4" }, { high: median, stroke: "var(--published)" },
  ], decades([...median, ...p95]), (n) => (median[n] === null ? "nothing read" : `median ${span(median[n])} (line), 95 % within ${span(p95[n])} (dots)`));
  plot("lag", status.at, at, [{ low: lag.map(() => 0), high: lag, fill: "var(--track)", stroke: "var(--published)" }], linear(lag), (n) => many(lag[n], "record"));
}

for (const id of ["events", "delay", "lag"]) {
  const node = $(id);
  const move = (time) => {
    if (time === undefined) cursors.delete(id);
    else cursors.set(id, time);
    if (last) showCharts(last);
  };
  node.addEventListener("pointermove", (event) => {
    if (!last) return;
    const box = node.getBoundingClientRect();
    move(last.at - SPAN_S * (1 - (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)));
  });
  node.addEventListener("pointerleave", () => move(undefined));
  node.addEventListener("blur", () => {
    $(`${id}-readout`).removeAttribute("aria-live");
    move(undefined);
  });
  node.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (!last || !step) return;
    event.preventDefault();
    $(`${id}-readout`).setAttribute("aria-live", "polite"); // Read aloud where the cursor goes, not every two seconds.
    move(Math.min(last.at, Math.max(last.at - SPAN_S, (cursors.get(id) ?? last.at) + step)));
  });
}
