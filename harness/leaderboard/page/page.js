"use strict";
// Shows the board in `#data`. Text only ever enters the page as text nodes and properties.

const board = JSON.parse(document.getElementById("data").textContent);
const chosen = { task: "", student: "", budget: "", method: "", metric: board.metrics[0] };
const sorting = new Map(); // table title -> {column, descending}
const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const { dataset, attributes, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ---- what is shown ------------------------------------------------------------------------

const unique = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));

function cellsOf(table) {
  return table.by_metric[chosen.metric];
}

function wantsRow(row) {
  const wanted = chosen.method.trim().toLowerCase();
  return (row.reference || !chosen.budget || row.budget === chosen.budget)
    && row.method.toLowerCase().includes(wanted);
}

function wantsTable(table) {
  return cellsOf(table) !== undefined
    && (!chosen.task || table.task === chosen.task)
    && (!chosen.student || table.student === chosen.student);
}

// A cell's place in an ordering: its first number, or its text; what is missing comes last.
function sortKey(text) {
  const number = Number.parseFloat(text.replace(/[,<−]/g, (c) => (c === "−" ? "-" : "")));
  return Number.isNaN(number) ? text : number;
}

function compare(first, second, descending) {
  const [a, b] = [sortKey(first), sortKey(second)];
  const missing = (text) => text === "–" || text === "";
  if (missing(first) || missing(second)) return missing(first) - missing(second);
  const order = typeof a === "number" && typeof b === "number"
    ? a - b
    : String(first).localeCompare(String(second), "en", { numeric: true });
  return descending ? -order : order;
}

function shownRows(table) {
  const rows = cellsOf(table).rows.filter(wantsRow);
  const order = sorting.get(table.title);
  if (order === undefined) return rows;
  return [...rows].sort((a, b) => compare(a.cells[order.column], b.cells[order.column], order.descending));
}

// ---- tables -------------------------------------------------------------------------------

function headerCell(table, column, position) {
  const order = sorting.get(table.title);
  const active = order?.column === position;
  const state = active ? (order.descending ? "descending" : "ascending") : "none";
  const arrow = active ? (order.descending ? " ▼" : " ▲") : "";
  const button = make("button", {
    type: "button",
    textContent: column.title + arrow,
    onclick: () => {
      sorting.set(table.title, { column: position, descending: active ? !order.descending : !column.left });
      draw();
      document.querySelector(`[data-title="${CSS.escape(table.title)}"] th:nth-child(${position + 1}) button`)?.focus();
    },
  });
  return make("th", {
    scope: "col",
    className: `${column.part} ${column.left ? "left" : ""}`,
    attributes: { "aria-sort": state },
  }, button);
}

function bodyRow(table, row, columns) {
  const cells = columns.map((column, position) => {
    const text = row.cells[position];
    if (column.part === "row") {
      const open = make("button", { type: "button", textContent: text, onclick: () => showDetail(table, row) });
      return make("th", { scope: "row" }, open);
    }
    const verdict = column.title === "verdict" ? (row.verdict ?? "") : "";
    return make("td", { className: `${column.part} ${column.left ? "left" : ""} ${verdict}`, textContent: text });
  });
  return make("tr", { className: row.reference ? "reference" : "" }, ...cells);
}

function plainCell(text, className) {
  return String(text).startsWith("data:image/jpeg;base64,")
    ? make("td", { className }, make("img", { src: text, alt: "image of the row", loading: "lazy" }))
    : make("td", { className, textContent: text });
}

function plainTable(label, columns, rows, caption, className = "") {
  const head = make("tr", {}, ...columns.map((title) => make("th", { scope: "col", className, textContent: title })));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((text) => plainCell(text, className))));
  return make("div", { className: "scroll", tabIndex: 0, attributes: { role: "region", "aria-label": label } },
    make("table", {}, make("caption", { textContent: caption }), make("thead", {}, head), make("tbody", {}, ...body)));
}

function factList(facts) {
  return make("dl", {}, ...facts.flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]));
}

function section(table, rows) {
  const { columns, conclusions } = cellsOf(table);
  const heading = make("h2", { textContent: table.title });
  const head = make("tr", {}, ...columns.map((column, position) => headerCell(table, column, position)));
  const body = rows.map((row) => bodyRow(table, row, columns));
  const caption = `mean ± 95 % interval over distilling seeds, in percent; n seeds; a method's name opens its runs`;
  const grid = make("div", { className: "scroll", tabIndex: 0, attributes: { role: "region", "aria-label": table.title } },
    make("table", {}, make("caption", { textContent: caption }), make("thead", {}, head), make("tbody", {}, ...body)));
  const notes = make("ul", { className: "notes" }, ...table.notes.map((note) => make("li", { textContent: note })));
  const words = make("ul", { className: "words" }, ...conclusions.map((text) => make("li", { textContent: text })));
  const about = make("details", {}, make("summary", { textContent: "protocol and data" }), factList(table.facts));
  return make("section", { dataset: { title: table.title } }, heading, words, grid, notes, chartsOf(table, rows), about);
}

// ---- charts -------------------------------------------------------------------------------

const ERRORS_ONLY = 1; // an empty layer is no news: filters make them

const CAPTIONS = {
  scores: "Mean and 95 % interval; dashed: random and full data.",
  budget: "Score against rows in the set, with 95 % bands; dashed: full data.",
  cost: "Score against seconds; the dashed line joins what nothing beats in both.",
};

function chartConfig() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const labels = { labelColor: colour("--muted"), titleColor: colour("--text") };
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: colour("--line") },
    axis: { ...labels, gridColor: colour("--line"), domainColor: colour("--muted"), tickColor: colour("--muted") },
    legend: { ...labels, orient: "bottom", columns: 3, symbolBaseFillColor: colour("--muted"), symbolBaseStrokeColor: colour("--muted") },
    title: { color: colour("--text") },
    header: labels,
    text: { color: colour("--text") },
  };
}

// A layered chart takes the width of its place; a heat map and a facet have their own.
function embed(target, spec) {
  const fits = spec.layer !== undefined && typeof spec.width !== "object";
  const sized = fits ? { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" } } : spec;
  const options = { actions: false, renderer: "svg", config: chartConfig(), logLevel: ERRORS_ONLY };
  window.vegaEmbed(target, sized, options).catch((error) => {
    target.textContent = `This chart could not be drawn: ${error.message}`;
  });
}

function figure(spec, caption) {
  const target = make("div", { className: "chart" });
  requestAnimationFrame(() => embed(target, spec));
  return make("figure", {}, target, make("figcaption", { textContent: caption }));
}

function chartsOf(table, rows) {
  const labels = new Set(rows.map((row) => row.label));
  const points = board.points[chosen.metric].filter((p) =>
    p.task === table.task && p.student === table.student && p.evaluator === table.evaluator && labels.has(p.label));
  const budgets = new Set(points.filter((p) => !p.reference).map((p) => p.budget));
  const kinds = budgets.size > 1 ? ["scores", "budget", "cost"] : ["scores", "cost"];
  const figures = points.length < 2 ? [] : kinds.map((kind) => {
    const spec = board.charts[chosen.metric][kind];
    return figure({ ...spec, data: { name: "points", values: points } }, CAPTIONS[kind]);
  });
  return make("div", { className: "charts" }, ...figures);
}

function summaryParts(summary) {
  const table = plainTable(summary.title, summary.columns, summary.rows, summary.note, "left");
  const { title, ...chart } = summary.chart ?? {};
  const drawn = summary.chart === null ? [] : [figure(chart, "Average ranks; bars join methods that do not differ.")];
  return make("details", { open: true }, make("summary", { textContent: summary.title }), table, ...drawn);
}

function studentMaps() {
  const points = board.points[chosen.metric].filter((p) => (p.reference || !chosen.budget || p.budget === chosen.budget)
    && (!chosen.task || p.task === chosen.task));
  const tasks = unique(points.map((p) => p.task));
  const students = new Set(points.map((p) => p.student));
  return students.size < 2 ? [] : tasks.map((task) => {
    const values = points.filter((p) => p.task === task);
    const spec = { ...board.charts[chosen.metric].students, data: { name: "points", values } };
    return figure(spec, `${task}: score of each method with each student.`);
  });
}

function drawOverview() {
  const wanted = board.summaries.filter((summary) =>
    ["task", "student", "budget"].every((name) => !chosen[name] || !summary[name] || summary[name] === chosen[name]));
  const heading = wanted.length === 0 ? [] : [make("h2", { textContent: "Over tasks and students" })];
  const maps = make("div", { className: "charts" }, ...studentMaps());
  byId("overview").replaceChildren(...heading, ...wanted.map(summaryParts), maps);
}

// ---- one cell -----------------------------------------------------------------------------

function curveChart(runs) {
  const values = runs.flatMap((run) => Object.entries(run.curves).flatMap(([name, curve]) =>
    curve.steps.map((step, i) => ({ name, step, value: curve.values[i], run: `${run.distill_seed}/${run.fit_seed}` }))));
  return values.length === 0 ? null : {
    description: "Learning curves of each run",
    data: { values },
    facet: { column: { field: "name", title: null } },
    resolve: { scale: { x: "independent", y: "independent" } },
    spec: {
      width: 240, height: 150, mark: "line",
      encoding: {
        x: { field: "step", type: "quantitative" },
        y: { field: "value", type: "quantitative", title: null, scale: { zero: false } },
        color: { field: "run", title: "seeds" },
      },
    },
  };
}

function runTable(runs) {
  const metrics = unique(runs.flatMap((run) => Object.keys(run.metrics)));
  const columns = ["distilling seed", "fitting seed", ...metrics.map((m) => `${m} %`), "rate", "distill s", "fit s", "evaluate s"];
  const rows = runs.map((run) => [
    String(run.distill_seed), String(run.fit_seed), ...metrics.map((m) => String(run.metrics[m] ?? "–")),
    String(run.learning_rate), String(run.seconds.distill), String(run.seconds.fit), String(run.seconds.evaluate),
  ]);
  return plainTable("runs", columns, rows, "one line a run, scores in percent");
}

function sampleTable(runs) {
  const samples = runs.find((run) => run.set?.samples.length)?.set.samples;
  if (!samples) return [];
  const columns = Object.keys(samples[0]);
  return [make("h3", { textContent: "Samples of the set" }),
    plainTable("samples", columns, samples.map((row) => columns.map((name) => row[name] ?? "")), "a few of its rows, long ones cut", "left text")];
}

function pictureParts(runs) {
  return runs.flatMap((run) => (run.pictures ?? []).flatMap((picture) => [
    make("h3", { textContent: `Picture: ${picture.name}, seeds ${run.distill_seed}/${run.fit_seed}` }),
    make("div", { className: "scroll" }, make("img", { src: picture.source, alt: picture.name, loading: "lazy" })),
  ]));
}

function showDetail(table, row) {
  const runs = board.runs[table.title]?.[row.label] ?? [];
  const commands = unique(runs.map((run) => run.command));
  const made = unique(runs.flatMap((run) => Object.entries(run.provenance).map(([name, text]) => `${name}: ${text}`)));
  const first = runs.find((run) => run.set)?.set;
  const curves = curveChart(runs);
  byId("detail-title").textContent = `${row.label} · ${table.title}`;
  byId("detail-body").replaceChildren(
    runTable(runs),
    make("h3", { textContent: "Made by" }), ...commands.map((text) => make("pre", { textContent: text })),
    ...(curves ? [make("h3", { textContent: "Learning curves" }), figure(curves, "One line a run: distilling seed / fitting seed.")] : []),
    ...pictureParts(runs),
    ...sampleTable(runs),
    make("h3", { textContent: "Options and report" }),
    make("pre", { textContent: JSON.stringify({ options: first?.options ?? {}, report: first?.report ?? {} }, null, 1) }),
    make("h3", { textContent: "Provenance" }),
    make("ul", { className: "notes" }, ...made.map((text) => make("li", { textContent: text }))),
  );
  byId("detail").showModal();
  byId("detail-title").focus();
}

// ---- the whole ----------------------------------------------------------------------------

function draw() {
  const sections = [];
  let count = 0;
  let total = 0;
  for (const table of board.tables) {
    total += cellsOf(table)?.rows.length ?? 0;
    if (!wantsTable(table)) continue;
    const rows = shownRows(table);
    count += rows.length;
    if (rows.length > 0) sections.push(section(table, rows));
  }
  byId("tables").replaceChildren(...sections);
  byId("shown").textContent = `${count} of ${total} rows shown`;
  drawOverview();
}

function fill(id, values, every) {
  const options = values.map((value) => make("option", { value, textContent: value }));
  if (every) options.unshift(make("option", { value: "", textContent: every }));
  byId(id).replaceChildren(...options);
  byId(id).addEventListener("change", (event) => { chosen[id] = event.target.value; draw(); });
}

function start() {
  const rows = board.tables.flatMap((table) => Object.values(table.by_metric)[0].rows);
  fill("task", unique(board.tables.map((table) => table.task)), "all");
  fill("student", unique(board.tables.map((table) => table.student)), "all");
  fill("budget", unique(rows.filter((row) => !row.reference).map((row) => row.budget)), "all");
  fill("metric", board.metrics, "");
  byId("method").addEventListener("input", (event) => { chosen.method = event.target.value; draw(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const root = document.documentElement;
    root.dataset.theme = (root.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  byId("facts").replaceWith(Object.assign(factList(board.facts), { id: "facts" }));
  draw();
}

start();
