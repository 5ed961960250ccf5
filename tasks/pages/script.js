"use strict";
// In each browser of cards: shows those that hold every word of the search and fit the filters, in the order asked for, a page at
// a time. Without it all cards are shown.
for (const root of document.querySelectorAll("[data-browser]")) {
  const STEP = 20;
  const list = root.querySelector("[data-items]");
  const search = root.querySelector("[data-search]");
  const filters = Array.from(root.querySelectorAll("[data-filter]"));
  const order = root.querySelector("[data-order]");
  const count = root.querySelector("[data-count]");
  const more = root.querySelector("[data-more]");
  const cards = Array.from(list.children);
  const texts = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  let limit = STEP;

  function fits(card, words) {
    const wanted = (f) => !f.value || (card.dataset[f.dataset.filter] || "").split("|").includes(f.value);
    return filters.every(wanted) && words.every((word) => texts.get(card).includes(word));
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const card of list.children) {
      const fit = fits(card, words);
      found += fit ? 1 : 0;
      card.hidden = !fit || found > limit;
    }
    count.textContent = found ? "showing " + Math.min(found, limit) + " of " + found : "nothing fits";
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
  for (const filter of filters) filter.addEventListener("change", restart);
  if (order) order.addEventListener("change", sort);
  more.addEventListener("click", () => {
    const shown = new Set(Array.from(list.children).filter((card) => !card.hidden));
    limit += STEP;
    show();
    // the keyboard goes on at the first new card, also where the button has gone
    Array.from(list.children).find((card) => !card.hidden && !shown.has(card)).focus();
  });
  root.querySelector(".controls").hidden = false;
  show();
}
