// Filters the cards of a gallery by outcome and by words; everything stays on the page, nothing is fetched.
"use strict";
const cards = [...document.querySelectorAll("[data-outcome]")];
const buttons = [...document.querySelectorAll("[data-filter]")];
const words = document.getElementById("words");
const count = document.getElementById("count");
let outcome = "";
document.getElementById("filters").hidden = false;

function show() {
  const wanted = words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const text = card.dataset.text;
    const fits = (!outcome || card.dataset.outcome.split(" ").includes(outcome)) && wanted.every((w) => text.includes(w));
    card.hidden = !fits;
    shown += fits;
  }
  count.textContent = `${shown} of ${cards.length} episodes`;
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    outcome = button.dataset.filter;
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    show();
  });
}
words.addEventListener("input", show);
show();
