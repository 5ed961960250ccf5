"use strict";
// Shows the pairs that hold every word of the search, a page at a time. Without it all pairs are shown.
(function () {
  const STEP = 20;
  const list = document.getElementById("pairs");
  if (!list) return;
  const controls = document.getElementById("controls");
  const search = document.getElementById("search");
  const round = document.getElementById("round");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const cards = Array.from(list.querySelectorAll(".pair"));
  const texts = cards.map((card) => card.textContent.toLowerCase());
  let limit = STEP;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    cards.forEach((card, i) => {
      const fits = (!round.value || card.dataset.round === round.value) && words.every((word) => texts[i].includes(word));
      found += fits ? 1 : 0;
      card.hidden = !fits || found > limit;
    });
    const shown = Math.min(found, limit);
    count.textContent = found ? "showing " + shown + " of " + found : "no pair holds these words";
    more.hidden = found <= limit;
  }

  function restart() {
    limit = STEP;
    show();
  }

  search.addEventListener("input", restart);
  round.addEventListener("change", restart);
  more.addEventListener("click", () => {
    limit += STEP;
    show();
  });
  controls.hidden = false;
  show();
})();
