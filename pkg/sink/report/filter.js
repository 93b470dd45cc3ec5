"use strict";
(() => {
  const list = document.querySelector(".gallery"), place = document.querySelector(".find");
  if (!list || !place) return;
  const input = document.createElement("input"), label = document.createElement("label"), told = document.createElement("span");
  input.type = "search";
  input.id = "find";
  label.htmlFor = "find";
  label.textContent = "Show only those of this page with the text ";
  told.setAttribute("role", "status");
  told.className = "less";
  place.append(label, input, told);
  const tiles = [...list.children].map(tile => [tile, tile.textContent.toLowerCase()]);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const [tile, text] of tiles) {
      tile.hidden = !text.includes(wanted);
      if (!tile.hidden) shown++;
    }
    told.textContent = wanted ? " " + shown + " of " + tiles.length : "";
  });
})();
