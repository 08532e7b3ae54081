// The page's behaviour: tables that sort (DataTables), and the browser of cases.
const { default: DataTable } = await import(document.getElementById("datatables").textContent);

for (const table of document.querySelectorAll("table.exhibit")) {
  const titleRow = table.tHead.rows.length - 1;
  new DataTable(table, { paging: false, searching: false, info: false, order: [], autoWidth: false, titleRow });
}

const data = await unpack(document.getElementById("data").textContent);
const [NUMBER, MODEL, EDITOR, ERROR, EFFECTIVENESS, GENERALIZATION, CHANGED, SCORES] = [0, 1, 2, 3, 4, 5, 6, 7];
const texts = data.cases.map((one) => `${one.id} ${one.prompt} ${one.target}`.toLowerCase());
const results = new Map(data.rows.map((row) => [row.slice(0, 3).join(), row]));
const form = document.getElementById("filters");
const pane = document.getElementById("case");

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// Elements are made, never parsed: texts of cases may hold anything.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Filters ------------------------------------------------------------------------------------------

function choices(name, labels) {
  const select = form.elements[name];
  select.append(make("option", { value: "" }, "any"));
  labels.forEach(([value, label]) => select.append(make("option", { value }, label)));
}
choices("dataset", Object.entries(data.datasets));
choices("model", data.models.entries());
choices("editor", data.editors.entries());

const OUTCOMES = {
  learned: (row) => row[SCORES] === 100,
  missed: (row) => row[SCORES] < 100,
  generalizes: (row) => row[SCORES + 1] === 100,
  leaks: (row) => Object.keys(row[CHANGED]).length > 0,
  failed: (row) => row[ERROR] !== "",
};

let wanted = {};
function matches(row) {
  return (
    (!wanted.dataset || data.cases[row[NUMBER]].dataset === wanted.dataset) &&
    (!wanted.model || row[MODEL] === Number(wanted.model)) &&
    (!wanted.editor || row[EDITOR] === Number(wanted.editor)) &&
    (!wanted.outcome || OUTCOMES[wanted.outcome](row)) &&
    (!wanted.text || texts[row[NUMBER]].includes(wanted.text))
  );
}

// List ---------------------------------------------------------------------------------------------

const score = (place) => ({ data: SCORES + place, className: place > 2 ? "wide" : "", searchable: false });
const list = new DataTable("#case-table", {
  data: data.rows,
  columns: [
    { title: "Case", data: NUMBER, render: (number, kind, row) => (kind === "display" ? link(row) : data.cases[number].id) },
    { title: "Model", data: MODEL, className: "wide", visible: data.models.length > 1, render: (number) => data.models[number] },
    { title: "Editor", data: EDITOR, render: (number, kind) => (kind === "sort" ? number : data.editors[number]) },
    { title: "Eff.", ...score(0) },
    { title: "Gen.", ...score(1) },
    { title: "Spec.", ...score(2) },
    { title: "Eff. RL", ...score(3) },
    { title: "Gen. RL", ...score(4) },
    { title: "Spec. RL", ...score(5) },
  ],
  autoWidth: false,
  pageLength: 25,
  lengthMenu: [25, 100, 250],
  order: [],
  layout: { topStart: null, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
  search: { smart: false },
  language: { info: "_START_ to _END_ of _TOTAL_ edits", infoFiltered: "(of _MAX_)", infoEmpty: "no edits",
    zeroRecords: "No edit fits the filters.", lengthMenu: "_MENU_ on a page" },
});
list.search.fixed("filters", (_, row) => matches(row));

function filter() {
  wanted = Object.fromEntries(new FormData(form));
  wanted.text = wanted.text.trim().toLowerCase();
  list.draw();
}
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());

function address(row) {
  const parts = { case: data.cases[row[NUMBER]].id, dataset: data.cases[row[NUMBER]].dataset,
    model: data.models[row[MODEL]], editor: data.editors[row[EDITOR]] };
  return `#${new URLSearchParams(parts)}`;
}
function link(row) {
  return make("a", { href: address(row) }, data.cases[row[NUMBER]].id).outerHTML;
}

// Up and down go from case to case; the links themselves are reached by Tab and opened by Enter.
list.table().body().addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = step && event.target.closest("tr")?.[step]?.querySelector("a");
  if (next) {
    event.preventDefault();
    next.focus();
  }
});

// Case ---------------------------------------------------------------------------------------------

function open() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (!wanted.has("case")) return;
  const number = data.cases.findIndex(
    (one) => one.id === wanted.get("case") && (!wanted.has("dataset") || one.dataset === wanted.get("dataset")));
  const model = Math.max(data.models.indexOf(wanted.get("model")), 0);
  const editor = Math.max(data.editors.indexOf(wanted.get("editor")), 0);
  if (number < 0) {
    pane.replaceChildren(make("p", {}, `There is no case ${wanted.get("case")} in this run.`));
    return;
  }
  show(number, model, editor);
  mark();
  if (matchMedia("(max-width: 60rem)").matches) pane.scrollIntoView();
  pane.focus({ preventScroll: true });
}
function mark() {
  for (const row of list.table().body().rows) {
    row.classList.toggle("chosen", row.querySelector("a")?.getAttribute("href") === location.hash);
  }
}
list.on("draw", mark);
addEventListener("hashchange", open);

function show(number, model, editor) {
  const one = data.cases[number];
  const before = data.unedited === null ? null : results.get([number, model, data.unedited].join());
  pane.replaceChildren(
    make("h3", {}, `${one.id}, ${data.models[model]}`),
    block("Request", one.prompt),
    block("Target", one.target),
    block("Rephrase", one.rephrase),
    ...data.editors.flatMap((name, place) => {
      const row = results.get([number, model, place].join());
      return row && place !== data.unedited ? [edited(name, row, before, one, model, place === editor)] : [];
    }),
    before && edited("Unedited", before, null, one, model, editor === data.unedited),
  );
}

function edited(name, row, before, one, model, isOpen) {
  const expected = data.expected[model][row[NUMBER]];
  const changed = Object.entries(row[CHANGED]);
  const part = make("details", isOpen ? { open: "" } : {},
    make("summary", {}, `${name}${row[ERROR] ? ": failed" : ""}`),
    row[ERROR] ? make("p", {}, row[ERROR]) : null,
    measures(row),
    make("h4", {}, "Request"),
    before && compared("before, against the target", one.target, before[EFFECTIVENESS]),
    compared(before ? "after, against the target" : "against the target", one.target, row[EFFECTIVENESS]),
    make("h4", {}, "Rephrase"),
    before && compared("before, against the target", one.target, before[GENERALIZATION]),
    compared(before ? "after, against the target" : "against the target", one.target, row[GENERALIZATION]),
    make("h4", {}, `Neighbours: ${changed.length} of ${expected.length} changed`),
  );
  for (const [place, text] of changed) {
    part.append(block(`neighbour ${Number(place) + 1}`, one.neighbours[place]),
      block("before", expected[place]), compared("after, against before", expected[place], text));
  }
  return part;
}

function measures(row) {
  const dimensions = ["effectiveness", "generalization", "specificity"];
  const line = (label, start) => make("tr", {}, make("th", { scope: "row" }, label),
    ...dimensions.map((_, place) => make("td", {}, row[SCORES + start + place].toFixed(1))));
  return make("table", {},
    make("thead", {}, make("tr", {}, make("td"), ...dimensions.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, line("exact match", 0), line("ROUGE-L", 3)));
}

function block(label, text) {
  return make("div", {}, make("div", { class: "label" }, label), make("pre", {}, text));
}
function compared(label, expected, text) {
  const same = expected.trim() === text.trim();
  return make("div", {}, make("div", { class: "label" }, same ? `${label}: the same` : label),
    make("pre", {}, ...(same ? [text] : differences(expected, text))));
}

// What is missing from the expected text is struck through, what is new is underlined; by words.
function differences(expected, text) {
  const [a, b] = [expected, text].map((one) => one.match(/\s+|\w+|[^\w\s]/g) ?? []);
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const parts = [];
  const add = (kind, word) => {
    const last = parts.at(-1);
    if (last?.kind === kind) last.text += word;
    else parts.push({ kind, text: word });
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) [i, j] = (add("", a[i]), [i + 1, j + 1]);
    else if (j === b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) add("del", a[i++]);
    else add("ins", b[j++]);
  }
  return parts.map(({ kind, text: said }) => (kind ? make(kind, {}, said) : said));
}

open();
document.body.dataset.ready = "yes";
