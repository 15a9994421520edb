// What the page does beyond being read: colours by choice, the time under the pointer, the map of
// the heaps, a filter. Without it all tables remain.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const data = (id) => {
    const element = byId("data-" + id);
    return element ? JSON.parse(element.textContent) : null;
  };
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const bytes = (count) => {
    if (count < 1024) return count + " B";
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let value = count / 1024, unit = 0;
    while (value >= 1023.5 && unit + 1 < units.length) { value /= 1024; unit += 1; }
    const decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return value.toFixed(decimals) + " " + units[unit];
  };
  const themed = [];

  // ---- light and dark -------------------------------------------------------------------------
  const button = byId("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  const repaint = () => { name(); themed.forEach((paint) => paint()); };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    repaint();
  });
  systemDark.addEventListener("change", repaint);
  name();

  // ---- where am I? ----------------------------------------------------------------------------
  const links = [...document.querySelectorAll("nav.toc a")];
  const targets = links.map((link) => byId(link.hash.slice(1)));
  const follow = () => {
    let here = 0;
    targets.forEach((target, index) => {
      if (target && target.getBoundingClientRect().top < 120) here = index;
    });
    links.forEach((link, index) => {
      link.classList.toggle("here", index === here);
      if (index === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  addEventListener("scroll", follow, { passive: true });
  follow();

  // ---- the time under the pointer -------------------------------------------------------------
  const timeline = data("timeline");
  const area = byId("timeline-area");
  if (timeline && area) {
    const cursor = element("div", undefined, "cursor");
    const tip = element("div", undefined, "tip");
    cursor.hidden = tip.hidden = true;
    area.append(cursor, tip);
    const last = timeline.at_ms.length - 1;
    const [from, to] = [timeline.at_ms[0], timeline.at_ms[last]];
    let chosen = last;
    const show = (index) => {
      chosen = Math.max(0, Math.min(last, index));
      const width = area.clientWidth;
      const x = (timeline.at_ms[chosen] - from) / Math.max(1, to - from) * width;
      cursor.style.left = x + "px";
      tip.replaceChildren();
      const line = (label, value, colour) => {
        const row = element("div"), left = element("span");
        if (colour) {
          const chip = element("i", undefined, "chip");
          chip.style.background = "var(--" + colour + ")";
          left.append(chip);
        }
        left.append(label);
        row.append(left, element("span", value));
        tip.append(row);
      };
      line(timeline.labels[chosen], "");
      line("RSS", bytes(timeline.rss[chosen]));
      for (let part = timeline.parts.length - 1; part >= 0; part -= 1) {
        const value = timeline.bytes[part][chosen];
        if (value > 0) line(timeline.parts[part], bytes(value), timeline.parts[part]);
      }
      line("a trim", bytes(timeline.trim_gain[chosen]));
      cursor.hidden = tip.hidden = false;
      const left = x + 12 + tip.offsetWidth > width ? Math.max(0, x - 12 - tip.offsetWidth) : x + 12;
      tip.style.left = left + "px";
      tip.style.top = "8px";
    };
    const nearest = (event) => {
      const box = area.getBoundingClientRect();
      const time = from + (event.clientX - box.left) / box.width * (to - from);
      let best = 0;
      timeline.at_ms.forEach((at, index) => {
        if (Math.abs(at - time) < Math.abs(timeline.at_ms[best] - time)) best = index;
      });
      show(best);
    };
    const hide = () => { cursor.hidden = tip.hidden = true; };
    area.tabIndex = 0;
    area.addEventListener("pointermove", nearest);
    area.addEventListener("pointerdown", nearest);
    area.addEventListener("pointerleave", hide);
    area.addEventListener("blur", hide);
    area.addEventListener("focus", () => show(chosen));
    area.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(chosen + step);
    });
  }

  // ---- the map of the heaps -------------------------------------------------------------------
  const map = data("map");
  const canvas = byId("map-canvas");
  if (map && canvas) {
    const where = byId("map-where");
    const select = byId("map-heap");
    const context = canvas.getContext("2d");
    let heap, cells, first = 0, count = 0, grid = null, hovered = -1;

    // "l12f3u": a letter a state, how many cells in a row in base 36, none for one.
    const decode = (text) => {
      const starts = [], states = [];
      let at = 0;
      for (const run of text.matchAll(/([LPCFU])([0-9a-z]*)/g)) {
        starts.push(at);
        states.push(run[1]);
        at += run[2] ? parseInt(run[2], 36) : 1;
      }
      return { starts, states, length: at };
    };
    const runOf = (cell) => {
      let low = 0, high = cells.starts.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (cells.starts[middle] <= cell) low = middle; else high = middle - 1;
      }
      return low;
    };
    const endOf = (run) => run + 1 < cells.starts.length ? cells.starts[run + 1] : cells.length;
    // What most of the cells are; of equals the one that keeps memory.
    const prevailing = (from, to) => {
      const sums = {};
      for (let run = runOf(from), at = from; at < to; run += 1) {
        const end = Math.min(to, endOf(run));
        sums[cells.states[run]] = (sums[cells.states[run]] || 0) + end - at;
        at = end;
      }
      let best = "L";
      for (const state of "LPCFU") if ((sums[state] || 0) > (sums[best] || 0)) best = state;
      return best;
    };

    const paint = () => {
      const scale = devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      canvas.width = width * scale;
      canvas.height = height * scale;
      context.setTransform(scale, 0, 0, scale, 0, 0);
      const style = getComputedStyle(root);
      const colours = {};
      for (const [letter, state] of Object.entries(map.states)) {
        colours[letter] = style.getPropertyValue("--" + state).trim();
      }
      // Squares as large as fit, of which each is a cell or several.
      const size = Math.max(3, Math.min(22, Math.floor(Math.sqrt(width * height / count))));
      const columns = Math.max(1, Math.floor(width / size));
      const rows = Math.max(1, Math.floor(height / size));
      const each = Math.max(1, Math.ceil(count / (columns * rows)));
      grid = { size, columns, each };
      const gap = size >= 6 ? 1 : 0;
      for (let index = 0, at = first; at < first + count; index += 1, at += each) {
        const state = prevailing(at, Math.min(first + count, at + each));
        context.fillStyle = colours[state];
        const [x, y] = [index % columns * size, Math.floor(index / columns) * size];
        context.fillRect(x, y, size - gap, size - gap);
        if (index === hovered) {
          context.strokeStyle = style.getPropertyValue("--ink").trim();
          context.lineWidth = 2;
          context.strokeRect(x + 1, y + 1, size - 2, size - 2);
        }
      }
    };
    const say = (index) => {
      const from = first + index * grid.each;
      if (index < 0 || from >= first + count) {
        const seen = count === cells.length ? "all of it" : "part of it";
        where.textContent = bytes(count * heap.cell_bytes) + " in sight, " + seen +
          ", " + bytes(grid.each * heap.cell_bytes) + " a square";
        return;
      }
      const to = Math.min(first + count, from + grid.each);
      const address = (cell) => "0x" + (BigInt(heap.start) + BigInt(cell * heap.cell_bytes)).toString(16);
      const run = runOf(from);
      const state = prevailing(from, to);
      let text = address(from) + ": " + map.names[state];
      if (to - from > 1) text += ", mostly (" + bytes((to - from) * heap.cell_bytes) + " a square)";
      text += "; " + bytes(from * heap.cell_bytes) + " into the heap";
      const length = endOf(run) - cells.starts[run];
      if (to - from === 1 && length > 1) {
        text += "; one of " + length + " such in a row from " + address(cells.starts[run]);
      }
      where.textContent = text;
    };
    const view = (newFirst, newCount) => {
      count = Math.max(Math.min(64, cells.length), Math.min(cells.length, Math.round(newCount)));
      first = Math.max(0, Math.min(cells.length - count, Math.round(newFirst)));
      // With all of it in sight a finger scrolls the page, else the map.
      canvas.style.touchAction = count === cells.length ? "auto" : "none";
      paint();
      say(hovered);
    };
    const zoom = (factor, centre) => {
      const at = centre === undefined ? first + count / 2 : centre;
      const wanted = Math.max(Math.min(64, cells.length), Math.min(cells.length, count * factor));
      view(at - (at - first) * wanted / count, wanted);
    };
    const choose = (index) => {
      heap = map.heaps[index];
      cells = decode(heap.cells);
      select.value = String(index);
      hovered = -1;
      view(0, cells.length);
    };
    const indexAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const column = Math.min(grid.columns - 1, Math.floor(x / grid.size));
      return Math.floor(y / grid.size) * grid.columns + column;
    };

    let dragged = null;
    canvas.addEventListener("pointermove", (event) => {
      if (dragged) {
        const rows = Math.round((dragged.y - event.clientY) / grid.size);
        view(dragged.first + rows * grid.columns * grid.each, count);
        return;
      }
      const index = indexAt(event);
      if (index !== hovered) { hovered = index; paint(); }
      say(index);
    });
    canvas.addEventListener("pointerdown", (event) => {
      dragged = { y: event.clientY, first };
      canvas.setPointerCapture(event.pointerId);
      const index = indexAt(event);
      hovered = index;
      paint();
      say(index);
    });
    ["pointerup", "pointercancel"].forEach((kind) => canvas.addEventListener(kind, () => { dragged = null; }));
    canvas.addEventListener("pointerleave", () => { hovered = -1; paint(); say(-1); });
    canvas.addEventListener("dblclick", (event) => zoom(0.25, first + indexAt(event) * grid.each));
    // The page scrolls as ever; with Ctrl, or a pinch, the map zooms.
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, first + indexAt(event) * grid.each);
    }, { passive: false });
    canvas.tabIndex = 0;
    canvas.addEventListener("keydown", (event) => {
      const row = grid.columns * grid.each;
      const actions = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => view(0, cells.length),
        ArrowUp: () => view(first - row, count), ArrowDown: () => view(first + row, count),
        PageUp: () => view(first - count / 2, count), PageDown: () => view(first + count / 2, count),
        Home: () => view(0, count), End: () => view(cells.length, count),
      };
      if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      actions[event.key]();
    });
    byId("map-in").addEventListener("click", () => zoom(0.5));
    byId("map-out").addEventListener("click", () => zoom(2));
    byId("map-all").addEventListener("click", () => view(0, cells.length));
    select.addEventListener("change", () => choose(Number(select.value)));
    document.querySelectorAll("[data-heap]").forEach((link) => {
      link.addEventListener("click", () => choose(Number(link.dataset.heap)));
    });
    new ResizeObserver(() => { if (cells) { paint(); say(hovered); } }).observe(canvas);
    themed.push(paint);
    choose(0);
  }

  // ---- a filter -------------------------------------------------------------------------------
  document.querySelectorAll("input[data-filter]").forEach((input) => {
    const rows = [...byId(input.dataset.filter).tBodies[0].rows];
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
    });
  });

  // ---- the figures, for programs --------------------------------------------------------------
  const download = byId("download");
  if (download) {
    download.addEventListener("click", () => {
      const text = byId("data-figures").textContent;
      const link = element("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = download.dataset.name;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
})();
