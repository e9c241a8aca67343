"use strict";
(() => {
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const byId = (id) => document.getElementById(id);

  // What needs a script is shown by it.
  all("[data-script]").forEach((e) => { e.hidden = false; });

  // The theme: the system's, or one of two.
  const root = document.documentElement;
  const theme = byId("theme");
  const themes = ["auto", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("lowbit-theme"); } catch { return null; } };
  const remember = (name) => { try { localStorage.setItem("lowbit-theme", name); } catch { /* A file may have no storage. */ } };
  const show = (name) => {
    if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
    theme.textContent = "Theme: " + name;
  };
  let chosen = themes.includes(remembered()) ? remembered() : "auto";
  show(chosen);
  theme.addEventListener("click", () => {
    chosen = themes[(themes.indexOf(chosen) + 1) % themes.length];
    remember(chosen);
    show(chosen);
  });

  // Tables are sorted by their titles, which become buttons.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v;
    return value === undefined ? cell.textContent.trim().toLowerCase() : value === "" ? null : Number(value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map((row, at) => ({ row, at, key: keyOf(row, column) }));
    rows.sort((a, b) => {
      // What is not known comes last, whichever way.
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.at - b.at;
      return (down ? compare(b.key, a.key) : compare(a.key, b.key)) || a.at - b.at;
    });
    body.append(...rows.map((r) => r.row));
    all("thead th", table).forEach((th, i) => {
      if (i === column) th.setAttribute("aria-sort", down ? "descending" : "ascending"); else th.removeAttribute("aria-sort");
    });
  };
  all("table[data-sortable]").forEach((table) => {
    all("thead th", table).forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      button.title = (th.title ? th.title + ". " : "") + "Sort by this column";
      th.append(button);
      button.addEventListener("click", () => sort(table, column, th.getAttribute("aria-sort") === "ascending"));
    });
  });

  // Rows with a text in them.
  all("input[data-filter]").forEach((input) => {
    const table = byId(input.dataset.filter);
    const told = byId(input.dataset.filter + "-told");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      told.textContent = words.length ? shown + " of " + table.tBodies[0].rows.length + " rows" : "";
    });
  });

  const canvas = byId("canvas");
  if (!canvas) return;
  const svg = canvas.querySelector("svg");
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const nodes = all("a.node", svg);
  const details = byId("details-of-node");

  // Zooming keeps what is in the middle, or under the pointer.
  let zoom = 1;
  const setZoom = (wanted, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) => {
    const next = Math.min(4, Math.max(0.05, wanted));
    const place = [(canvas.scrollLeft + x) / zoom, (canvas.scrollTop + y) / zoom];
    zoom = next;
    svg.setAttribute("width", String(Math.round(width * zoom)));
    svg.setAttribute("height", String(Math.round(height * zoom)));
    canvas.scrollLeft = place[0] * zoom - x;
    canvas.scrollTop = place[1] * zoom - y;
    byId("zoom-told").textContent = Math.round(zoom * 100) + " %";
  };
  const fitWidth = () => setZoom(Math.min(1, (canvas.clientWidth - 2) / width), 0, 0);
  const fitAll = () => setZoom(Math.min(1, (canvas.clientWidth - 2) / width, (canvas.clientHeight - 2) / height), 0, 0);
  const zooms = { "zoom-in": () => setZoom(zoom * 1.25), "zoom-out": () => setZoom(zoom / 1.25), "zoom-width": fitWidth, "zoom-all": fitAll };
  Object.entries(zooms).forEach(([id, act]) => byId(id).addEventListener("click", act));
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const at = canvas.getBoundingClientRect();
    setZoom(zoom * Math.exp(-e.deltaY / 300), e.clientX - at.left, e.clientY - at.top);
  }, { passive: false });
  // Readable at first, also where the whole is wider than the screen.
  setZoom(Math.max(0.6, Math.min(1, (canvas.clientWidth - 2) / width)), 0, 0);
  const first = svg.querySelector("rect.box").getBoundingClientRect();
  canvas.scrollLeft += first.left + first.width / 2 - canvas.getBoundingClientRect().left - canvas.clientWidth / 2;
  canvas.scrollTop = 0;

  // Dragging moves the picture; a drag is no click.
  let held = null;
  canvas.addEventListener("pointerdown", (e) => {
    if (e.button === 0 && e.pointerType === "mouse") held = { x: e.clientX, y: e.clientY, left: canvas.scrollLeft, top: canvas.scrollTop, moved: false };
  });
  window.addEventListener("pointermove", (e) => {
    if (!held) return;
    const [x, y] = [e.clientX - held.x, e.clientY - held.y];
    if (!held.moved && Math.hypot(x, y) < 5) return;
    held.moved = true;
    canvas.classList.add("held");
    canvas.scrollLeft = held.left - x;
    canvas.scrollTop = held.top - y;
  });
  let dragged = false;
  window.addEventListener("pointerup", () => {
    dragged = held !== null && held.moved;
    held = null;
    canvas.classList.remove("held");
  });
  canvas.addEventListener("click", (e) => { if (dragged) { e.preventDefault(); dragged = false; } }, true);
  canvas.addEventListener("dragstart", (e) => e.preventDefault());

  // One node is in the order of the Tab key; arrows go on from it.
  const current = (node) => nodes.forEach((n) => n.setAttribute("tabindex", n === node ? "0" : "-1"));
  current(nodes[0]);
  const into = (node) => {
    const [at, here] = [node.getBoundingClientRect(), canvas.getBoundingClientRect()];
    if (at.top < here.top || at.bottom > here.bottom) canvas.scrollTop += at.top + at.height / 2 - here.top - here.height / 2;
    if (at.left < here.left || at.right > here.right) canvas.scrollLeft += at.left + at.width / 2 - here.left - here.width / 2;
  };
  const go = (node) => { if (node) { current(node); node.focus({ preventScroll: true }); into(node); } };
  canvas.addEventListener("keydown", (e) => {
    const at = nodes.indexOf(document.activeElement);
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const acts = { "+": zooms["zoom-in"], "-": zooms["zoom-out"], "0": fitWidth };
    const moves = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: nodes.length - 1 };
    if (acts[e.key]) { e.preventDefault(); acts[e.key](); } else if (at >= 0 && e.key in moves) { e.preventDefault(); go(nodes[moves[e.key]]); }
  });

  // What is known of a node, from its row.
  const table = byId("layers");
  const titles = all("thead th", table).map((th) => th.textContent.trim());
  const tell = (node) => {
    const row = byId(node.getAttribute("href").slice(1));
    if (!row || details.dataset.of === row.id) return;
    details.dataset.of = row.id;
    const list = document.createElement("dl");
    Array.from(row.cells).forEach((cell, i) => {
      const text = cell.textContent.trim();
      if (!text) return;
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      dt.textContent = titles[i];
      dd.textContent = text;
      list.append(dt, dd);
    });
    const link = document.createElement("a");
    link.href = "#" + row.id;
    link.textContent = "Go to its row";
    const line = document.createElement("p");
    line.append(link);
    details.replaceChildren(list, line);
  };
  nodes.forEach((node) => {
    node.addEventListener("focus", () => { current(node); tell(node); });
    node.addEventListener("mouseenter", () => { if (!held) tell(node); });
  });

  // A link to a node shows it.
  const arrived = () => {
    const target = location.hash.length > 1 ? byId(location.hash.slice(1)) : null;
    if (target && target.matches("a.node")) {
      canvas.scrollIntoView({ block: "center" });
      go(target);
    } else if (target && target.matches("tr")) {
      target.hidden = false;
      target.scrollIntoView({ block: "center" });
    }
  };
  window.addEventListener("hashchange", arrived);
  arrived();
})();
