"use strict";
// Shows the pairs that hold every word of the search, in the order asked for, a page at a time. Without it all pairs are shown.
(function () {
  const STEP = 20;
  const list = document.getElementById("pairs");
  if (!list) return;
  const controls = document.getElementById("controls");
  const [search, group, longer, order] = ["search", "group", "longer", "order"].map((id) => document.getElementById(id));
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const cards = Array.from(list.querySelectorAll(".pair"));
  const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  let limit = STEP;

  function fits(card, words) {
    const length = Number(card.dataset.length);
    if (group.value && card.dataset.group !== group.value) return false;
    if ((longer.value === "chosen" && length <= 0) || (longer.value === "rejected" && length >= 0)) return false;
    return words.every((word) => texts.get(card).includes(word));
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const card of list.children) {
      const fit = fits(card, words);
      found += fit ? 1 : 0;
      card.hidden = !fit || found > limit;
    }
    const shown = Math.min(found, limit);
    count.textContent = found ? "showing " + shown + " of " + found : "no pair fits";
    more.hidden = found <= limit;
  }

  function restart() {
    limit = STEP;
    show();
  }

  function sort() {
    const key = order.value.replace("-", "");
    const sign = order.value.startsWith("-") ? -1 : 1;
    const value = (card) => (card.dataset[key] === "" ? Infinity : sign * Number(card.dataset[key]));
    list.append(...(key ? cards.slice().sort((a, b) => value(a) - value(b)) : cards));
    restart();
  }

  search.addEventListener("input", restart);
  group.addEventListener("change", restart);
  longer.addEventListener("change", restart);
  order.addEventListener("change", sort);
  more.addEventListener("click", () => {
    limit += STEP;
    show();
  });
  controls.hidden = false;
  show();
})();
