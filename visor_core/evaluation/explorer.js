// A list of rows that a person searches, filters and sorts. All rows are in the page; a hundred at a time are drawn,
// so thousands stay quick. Every cell is set as text, never as markup; addresses were checked where the page was made.
"use strict";
const STEP = 100;

for (const place of document.querySelectorAll("[data-explorer]")) explore(place);

function explore(place) {
  const { columns, rows } = JSON.parse(document.getElementById(place.dataset.explorer).textContent);
  const find = (name) => place.querySelector(name);
  const [words, count, head, body, more] = ["input", ".count", "thead tr", "tbody", "button.more"].map(find);
  const filters = new Map();
  const texts = rows.map((row) => row.map((cell, i) => plain(cell, columns[i])).join("\n").toLowerCase());
  let order = rows.map((_, i) => i);
  let sorted = { column: -1, up: true };
  let limit = STEP;

  columns.forEach((column, i) => {
    head.append(heading(column, i));
    if (column.filter) find(".filters").append(choice(column, i));
  });
  words.addEventListener("input", restart);
  more.addEventListener("click", () => {
    const next = limit;
    limit += STEP;
    draw();
    const row = body.rows[next];
    if (row) {
      row.tabIndex = -1;
      row.focus();
    }
  });
  place.hidden = false;
  draw();

  function restart() {
    limit = STEP;
    draw();
  }

  function heading(column, i) {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (column.kind === "links") {
      cell.textContent = column.name;
      return cell;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      sorted = { column: i, up: sorted.column === i ? !sorted.up : true };
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      order = rows.map((_, n) => n).sort((a, b) => compare(rows[a][i], rows[b][i], sorted.up) || a - b);
      restart();
    });
    cell.append(button);
    return cell;
  }

  function choice(column, i) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.append(column.name, select);
    const numbers = new Map();
    for (const row of rows) {
      const key = plain(row[i], column);
      numbers.set(key, (numbers.get(key) ?? 0) + 1);
    }
    select.append(new Option(`all (${rows.length})`, ""));
    for (const value of [...numbers.keys()].sort((a, b) => compare(a, b, true))) {
      select.append(new Option(`${value || "none"} (${numbers.get(value)})`, `=${value}`));
    }
    select.addEventListener("change", () => {
      filters.set(i, select.value);
      restart();
    });
    return label;
  }

  function fits(n) {
    const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const [i, value] of filters) if (value && `=${plain(rows[n][i], columns[i])}` !== value) return false;
    return wanted.every((word) => texts[n].includes(word));
  }

  function draw() {
    const found = order.filter(fits);
    const drawn = found.slice(0, limit);
    body.replaceChildren(...drawn.map((n) => line(rows[n], columns)));
    more.hidden = drawn.length === found.length;
    more.textContent = `show ${Math.min(STEP, found.length - drawn.length)} more`;
    const shown = drawn.length < found.length ? `, the first ${drawn.length} shown` : "";
    count.textContent = `${found.length} of ${rows.length} rows${shown}`;
  }
}

function line(row, columns) {
  const element = document.createElement("tr");
  element.setAttribute("role", "row");
  row.forEach((value, i) => {
    const cell = document.createElement("td");
    const column = columns[i];
    cell.setAttribute("role", "cell");
    cell.dataset.label = column.name;
    if (column.kind === "number") cell.classList.add("n");
    if (column.wide) cell.classList.add("wide");
    if (value === null || value === "" || value.length === 0) cell.classList.add("none");
    const inside = document.createElement("span");
    if (column.kind === "links") value.forEach((link) => inside.append(anchor(link)));
    else if (column.kind === "chip" && value) inside.append(chip(value, column.good, column.bad));
    else {
      const text = document.createElement("bdi");
      text.textContent = plain(value, column);
      inside.append(text);
    }
    cell.append(inside);
    element.append(cell);
  });
  return element;
}

function anchor([text, address]) {
  if (!address) return document.createTextNode(`${text} `);
  const link = document.createElement("a");
  link.href = address;
  link.textContent = text;
  return link;
}

function chip(value, good, bad) {
  const mark = document.createElement("span");
  mark.className = `chip ${good.includes(value) ? "good" : bad.includes(value) ? "bad" : ""}`;
  mark.textContent = value;
  return mark;
}

function plain(value, column) {
  if (value === null) return "";
  if (column.kind === "links") return value.map(([text]) => text).join(" ");
  if (column.kind === "number") return Number.isInteger(value) ? String(value) : value.toFixed(column.digits);
  return String(value);
}

function compare(a, b, up) {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  const way = up ? 1 : -1;
  if (typeof a === "number" && typeof b === "number") return way * (a - b);
  return way * String(a).localeCompare(String(b), undefined, { numeric: true });
}
