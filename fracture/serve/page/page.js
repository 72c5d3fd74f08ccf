"use strict";
// One film is one entry of `films`: what the server said of it last, and its place in the list.
// The browser remembers the predictions' numbers alone, so that a page that is loaded again finds its results.
const $ = (id) => document.getElementById(id);
const films = [];
const view = { film: null, reading: 0, page: 0, rect: null, brightness: 0, contrast: 0, invert: false, baked: [0, 1] };
const SENDING = 2, STEP = 700;
let token = sessionStorage.getItem("token"), asking = null, weights = null, sending = 0, urls = [];

// --- the server

const headers = () => (token ? { Authorization: "Bearer " + token } : {});
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function askToken() {
  asking ||= new Promise((done) => {
    $("asking").showModal();
    $("asking").onclose = () => { token = $("token").value.trim(); sessionStorage.setItem("token", token); asking = null; done(); };
  });
  return asking;
}

async function api(path, options = {}) {
  for (;;) {
    const answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    if (answer.status === 401) { await askToken(); continue; }
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => null);
    throw Object.assign(new Error(body?.error ? told(body.error) : "the server answered " + answer.status), { status: answer.status, fault: body?.error, id: body?.id });
  }
}

function told(fault) {
  const parts = [fault.what];
  if (fault.got) parts.push("got " + fault.got);
  if (fault.allowed?.length) parts.push("allowed: " + fault.allowed.slice(0, 12).join(", "));
  if (fault.hint) parts.push(fault.hint);
  return parts.join("; ");
}

function send(film) {
  const body = new FormData();
  body.append("file", film.file, film.name);
  return new Promise((done, lost) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/predictions");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.setRequestHeader("Prefer", "respond-async");
    request.responseType = "json";
    request.upload.onprogress = (event) => { film.sent = event.loaded / Math.max(1, event.total); draw(film); };
    request.onload = () => done(request);
    request.onerror = lost;
    request.send(body);
  });
}

async function upload(film) {
  for (let tries = 0; ; tries++) {
    let answer;
    try { answer = await send(film); } catch { film.words = "The server does not answer; trying again"; draw(film); await pause(2000); continue; }
    if (answer.status === 401) { await askToken(); continue; }
    if (answer.status === 429) {
      film.words = "The server is busy; trying again";
      draw(film);
      await pause(1000 * Math.min(20, Number(answer.getResponseHeader("Retry-After")) || 2));
      continue;
    }
    film.file = null;
    if (answer.response?.id && !answer.response.error) Object.assign(film, answer.response, { words: "" });
    else Object.assign(film, { state: "failed", error: answer.response?.error || { what: "the server answered " + answer.status } });
    remember();
    draw(film);
    if (view.film === film) show(film);
    return;
  }
}

function pump() {
  for (const film of films) {
    if (sending >= SENDING) return;
    if (film.state !== "new") continue;
    film.state = "sending";
    sending++;
    upload(film).finally(() => { sending--; pump(); });
  }
}

async function watch() {
  for (;;) {
    const open = films.filter((film) => film.id && (film.state === "waiting" || film.state === "running"));
    try {
      for (let start = 0; start < open.length; start += 50) {
        const some = open.slice(start, start + 50);
        const { predictions } = await (await api("/v1/predictions?" + some.map((film) => "id=" + film.id).join("&"))).json();
        const by = new Map(predictions.map((one) => [one.id, one]));
        for (const film of some) {
          film.words = "";
          Object.assign(film, by.get(film.id) || { state: "failed", error: { what: "it has expired; drop the film again" } });
          draw(film);
          if (view.film === film && film.state !== "waiting" && film.state !== "running") show(film);
        }
      }
      showFirst(); // also a film that had been read when the server answered its upload
    } catch {
      for (const film of open) { film.words = "The server does not answer; waiting for it"; draw(film); }
    }
    await pause(STEP);
  }
}

const remember = () => localStorage.setItem("films", JSON.stringify(films.filter((film) => film.id).map((film) => film.id)));

async function recall() {
  const numbers = JSON.parse(localStorage.getItem("films") || "[]");
  for (let start = 0; start < numbers.length; start += 50) {
    const { predictions } = await (await api("/v1/predictions?" + numbers.slice(start, start + 50).map((id) => "id=" + encodeURIComponent(id)).join("&"))).json();
    predictions.forEach((one) => add(one));
  }
  remember();
  showFirst();
}

function showFirst() {
  const first = films.find((film) => film.state === "done");
  if (first && !view.film) show(first);
}

async function ready() {
  for (;;) {
    try {
      const { ready, why } = await (await fetch("/healthz")).json();
      if (ready) { $("ready").textContent = ""; break; }
      $("ready").textContent = "Not ready: " + why + ". You can drop films already.";
    } catch { $("ready").textContent = "The server does not answer."; }
    await pause(1000);
  }
  weights = await (await api("/v1/weights")).json();
  for (const [name, word] of weights[0].regions) $("region").append(new Option(word, name));
  $("ready").textContent = "Reads with " + weights.map((one) => one.name + " " + one.version).join(" and ") + ".";
}

// --- the list

function make(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

function add(film, after = null) {
  film.row = make("li", "");
  film.open = make("button", "open");
  film.open.append(make("span", "name", film.name), make("span", "state"), make("progress", ""));
  film.open.lastChild.setAttribute("aria-label", "Progress of " + film.name);
  film.open.addEventListener("click", () => show(film));
  const remove = make("button", "remove", "×");
  remove.setAttribute("aria-label", "Remove " + film.name);
  remove.addEventListener("click", () => forget(film));
  for (const button of [film.open, remove]) button.type = "button";
  film.row.append(film.open, remove);
  films.splice(after ? films.indexOf(after) + 1 : films.length, 0, film);
  if (after) after.row.after(film.row); else $("films").append(film.row);
  draw(film);
  return film;
}

function draw(film) {
  const [, state, bar] = film.open.children;
  const done = film.state === "done", failed = film.state === "failed";
  const part = { new: 0, sending: 0.6 * (film.sent || 0), waiting: 0.65, running: 0.85 }[film.state];
  const region = film.region?.length ? " (as " + film.region.map(word).join(", ") + ")" : "";
  state.textContent = film.words || {
    new: "To be sent", sending: "Sending, " + Math.round(100 * (film.sent || 0)) + " %", running: "Being read",
    waiting: film.ahead ? "Waiting, " + film.ahead + " before it" : "Waiting", done: short(film.verdict || "") + region, failed: "Not read: " + (film.error?.what || ""),
  }[film.state];
  bar.hidden = done || failed;
  if (!bar.hidden) bar.value = part;
  film.row.className = [failed ? "failed" : done ? (film.alarm ? "alarm" : "calm") : "", view.film === film ? "current" : ""].join(" ").trim();
  if (view.film === film) film.open.setAttribute("aria-current", "true"); else film.open.removeAttribute("aria-current");
  count();
}

// "Fracture suspected: suspicion 0.63 (threshold 0.5)" as its words and its number.
const parts = (verdict) => verdict.replace(/ \(threshold 0\.5\)$/, "").split(": suspicion ");
const short = (verdict) => parts(verdict).join(", ");
const word = (region) => weights?.[0].regions.find(([name]) => name === region)?.[1] || region;

function count() {
  const over = films.filter((film) => film.state === "done" || film.state === "failed");
  const alarms = films.filter((film) => film.state === "done" && film.alarm).length, failed = over.filter((film) => film.state === "failed").length;
  const text = !films.length ? "" : over.length + " of " + films.length + (films.length === 1 ? " film read" : " films read")
    + (alarms ? ", " + alarms + " suspicious" : "") + (failed ? ", " + failed + " failed" : "");
  if ($("summary").textContent !== text) $("summary").textContent = text;
  $("keep").hidden = !films.length;
}

async function forget(film) {
  const place = films.indexOf(film);
  films.splice(place, 1);
  film.row.remove();
  remember();
  if (view.film === film) { view.film = null; show(films[Math.min(place, films.length - 1)] || null); }
  count();
  if (film.id) await api("/v1/predictions/" + film.id, { method: "DELETE" }).catch(() => {});
}

function take(list) {
  for (const file of list) add({ file, name: file.name, state: "new" });
  pump();
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) return void found.push(await new Promise((done, lost) => entry.file(done, lost)));
    const reader = entry.createReader();
    for (let some; (some = await new Promise((done, lost) => reader.readEntries(done, lost))).length;) for (const one of some) await walk(one);
  };
  for (const [entry, file] of entries) if (entry?.isDirectory) await walk(entry); else if (file) found.push(file);
  take(found);
}

// --- the film

async function show(film) {
  const before = view.film;
  view.asked?.abort(); // what was asked for the film before is of no use, and may be removed from the server next
  view.asked = new AbortController();
  view.film = film;
  if (before && before !== film && films.includes(before)) draw(before);
  $("said").hidden = !film;
  $("empty").hidden = Boolean(film);
  $("shown").hidden = film?.state !== "done";
  $("message").textContent = "";
  if (!film) return;
  draw(film);
  film.row.scrollIntoView({ block: "nearest" });
  $("said").classList.toggle("bare", film.state !== "done");
  $("meter").hidden = film.state !== "done";
  view.size = null;
  if (film.state !== "done") {
    $("verdict").textContent = film.state === "failed" ? "This film could not be read" : "This film is not read yet";
    $("verdict").className = film.state === "failed" ? "failed" : "";
    $("suspicion").textContent = film.error ? told(film.error) : "";
    return;
  }
  try {
    film.whole ||= await (await api("/v1/predictions/" + film.id, { signal: view.asked.signal })).json();
  } catch (error) { if (error.name !== "AbortError") $("message").textContent = error.message; return; }
  if (view.film !== film) return;
  if (before !== film) { view.reading = 0; reset(); }
  $("region").value = film.region.length === 1 ? film.region[0] : "";
  choices(film);
  await picture();
}

const POINTS = { high_sensitivity: ["High sensitivity", "misses little, more false alarms"], high_specificity: ["High specificity", "few false alarms, misses more"] };

function choices(film) {
  const box = $("readings");
  box.querySelectorAll("label").forEach((one) => one.remove());
  film.whole.readings.forEach((reading, number) => {
    const [title, meaning] = POINTS[reading.result.operating_point] || [reading.weights.wing === "hip" ? "Hips" : reading.weights.name, "read by " + reading.weights.name];
    const label = make("label", ""), input = make("input", "");
    Object.assign(input, { type: "radio", name: "reading", value: number, checked: number === view.reading });
    input.addEventListener("change", () => { view.reading = number; view.page = 0; picture(); });
    label.append(input, make("b", "", title), make("span", "", meaning), make("span", reading.pages.some((page) => page.alarm) ? "found" : "", short(reading.pages[0].verdict)));
    box.append(label);
  });
}

async function blob(path) {
  const url = URL.createObjectURL(await (await api(path, { signal: view.asked.signal })).blob());
  urls.push(url);
  return url;
}

async function picture() {
  const film = view.film, reading = film.whole.readings[view.reading], page = reading.pages[view.page];
  const [verdict, suspicion] = parts(page.verdict);
  $("verdict").textContent = verdict;
  $("verdict").className = page.alarm === null ? "" : page.alarm ? "alarm" : "calm";
  $("suspicion").textContent = suspicion ? "Suspicion " + suspicion + " (threshold 0.5)" : "";
  $("meter").hidden = !suspicion;
  $("meter").firstElementChild.value = Number(suspicion || 0);
  $("stage").setAttribute("aria-label", [film.name, page.verdict, ...page.lines].join(". "));
  $("lines").replaceChildren(...page.lines.map((line) => make("li", "", line)), ...(reading.result.warnings || []).map((line) => make("li", "warning", line)));
  $("numbers").replaceChildren(...Object.entries(reading.result).flatMap(([name, value]) =>
    value === null || typeof value === "object" ? [] : [make("dt", "", name.replaceAll("_", " ")), make("dd", "", String(value))]));
  const marks = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg">' + page.marks + "</svg>", "image/svg+xml");
  $("marks").replaceChildren(...marks.documentElement.children);
  $("paging").hidden = reading.pages.length < 2;
  $("page").textContent = view.page + 1 + " of " + reading.pages.length;
  $("map").disabled = !page.has_map;
  for (const id of ["film", "heat"]) { $(id).setAttribute("width", page.width); $(id).setAttribute("height", page.height); }
  view.size = [page.width, page.height];
  look();
  const old = urls, key = [film.id, view.reading, view.page].join();
  urls = [];
  view.key = key;
  try {
    const base = "/v1/predictions/" + film.id, query = "?reading=" + view.reading + "&page=" + view.page;
    const [gray, heat] = await Promise.all([blob(base + "/film.png" + query), page.has_map ? blob(base + "/map.png" + query) : null]);
    if (view.key !== key) return;
    $("film").setAttribute("href", gray);
    view.baked = [0, 1];
    look();
    if (heat) $("heat").setAttribute("href", heat); else $("heat").removeAttribute("href");
  } catch (error) { if (error.name !== "AbortError") $("message").textContent = error.message; }
  old.forEach((url) => URL.revokeObjectURL(url));
}

const pressed = (id) => $(id).getAttribute("aria-pressed") === "true";

function look() {
  if (!view.size) return;
  view.rect ||= [0, 0, ...view.size];
  $("stage").setAttribute("viewBox", view.rect.join(" "));
  $("zoom").textContent = Math.round((100 * view.size[0]) / view.rect[2]) + " %";
  $("marks").style.display = pressed("boxes") ? "" : "none";
  $("heat").toggleAttribute("hidden", !pressed("map") || $("map").disabled);
  // A window of width w about level l: (value - l + w / 2) / w, and its mirror image where it is inverted.
  // The picture may be of another window (baked) already: the filter does the rest, at once and in the steps of 8 bits,
  // until the server has made the picture anew from the values of the file.
  const wide = 2 ** (-view.contrast / 33), low = 0.5 - view.brightness / 200 - wide / 2, sign = pressed("invert") ? -1 : 1;
  const [from, over] = view.baked, slope = over / wide, first = (from - low) / wide;
  for (const part of $("window").firstElementChild.children) {
    part.setAttribute("slope", sign * slope);
    part.setAttribute("intercept", sign > 0 ? first : 1 - first);
  }
  const done = from === low && over === wide;
  if (done && sign > 0) $("film").removeAttribute("filter"); else $("film").setAttribute("filter", "url(#window)");
  view.window = [low, wide];
  clearTimeout(view.later);
  if (!done && view.key) view.later = setTimeout(bake, 150, view.key, low, wide);
  for (const id of ["brightness", "contrast"]) $(id).value = view[id];
}

async function bake(key, low, wide) {
  const [film, reading, page] = key.split(","), query = new URLSearchParams({ reading, page, low, wide });
  try {
    const gray = await blob("/v1/predictions/" + film + "/film.png?" + query);
    if (view.key !== key || view.window[0] !== low || view.window[1] !== wide) return;
    $("film").setAttribute("href", gray);
    view.baked = [low, wide];
    look();
  } catch (error) { if (error.name !== "AbortError") $("message").textContent = error.message; }
}

function reset() {
  Object.assign(view, { rect: null, brightness: 0, contrast: 0, page: 0 });
  $("invert").setAttribute("aria-pressed", "false");
  look();
}

function zoom(by, at = null) {
  const [x, y, wide, high] = view.rect, [w, h] = view.size;
  const factor = Math.min(Math.max((by * w) / wide, 0.5), 40) / (w / wide);
  const [cx, cy] = at || [x + wide / 2, y + high / 2];
  view.rect = [cx - (cx - x) / factor, cy - (cy - y) / factor, wide / factor, high / factor];
  look();
}

function move(dx, dy) { view.rect[0] += dx; view.rect[1] += dy; look(); }

const place = (event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform($("stage").getScreenCTM().inverse());
  return [point.x, point.y];
};

function toggle(id) {
  $(id).setAttribute("aria-pressed", String(!pressed(id)));
  look();
}

function turn(by) {
  const pages = view.film.whole.readings[view.reading].pages.length;
  view.page = (view.page + by + pages) % pages;
  picture();
}

function step(by) {
  const next = films[films.indexOf(view.film) + by];
  if (next) show(next);
}

async function again(event) {
  event.preventDefault();
  const film = view.film, region = $("region").value;
  $("message").textContent = "";
  try {
    const answer = await api("/v1/predictions/" + film.id + "/again", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ region: region ? [region] : [] }),
    });
    const { readings, ...said } = await answer.json();
    const made = add({ ...said, whole: readings ? { readings } : undefined }, film);
    remember();
    show(made);
  } catch (error) { $("message").textContent = error.message; }
}

async function download(what) {
  const film = view.film, stem = film.name.replace(/\.[^.]*$/, "");
  const query = "?reading=" + view.reading + (what === "overlay.png" ? "&map=" + !$("heat").hasAttribute("hidden") : "");
  $("message").textContent = "";
  try {
    const answer = await api("/v1/predictions/" + film.id + (what === "json" ? "" : "/" + what + query));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = stem + (what === "json" ? ".json" : "-" + what);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) { $("message").textContent = error.message; }
}

// --- what a person does

const stage = $("stage");
stage.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event)); }, { passive: false });
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("dblclick", () => { view.rect = null; look(); });
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  view.drag = { x: event.clientX, y: event.clientY, moves: event.shiftKey || event.button !== 0 };
});
stage.addEventListener("pointermove", (event) => {
  if (!view.drag) return;
  const dx = event.clientX - view.drag.x, dy = event.clientY - view.drag.y;
  Object.assign(view.drag, { x: event.clientX, y: event.clientY });
  if (view.drag.moves) { const scale = stage.getScreenCTM().a; move(-dx / scale, -dy / scale); return; }
  const within = (value) => Math.min(100, Math.max(-100, value));
  view.contrast = within(view.contrast + dx / 4);
  view.brightness = within(view.brightness - dy / 4);
  look();
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { view.drag = null; });
stage.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!way) return;
  event.preventDefault();
  move((way[0] * view.rect[2]) / 12, (way[1] * view.rect[3]) / 12);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !view.film || event.target.matches("select, input:not([type=radio]), dialog *")) return;
  const key = event.key.toLowerCase();
  if (!view.size && !"jk".includes(key)) return;
  const does = {
    b: () => toggle("boxes"), m: () => $("map").disabled || toggle("map"), i: () => toggle("invert"), r: reset, j: () => step(1), k: () => step(-1),
    "+": () => zoom(1.2), "=": () => zoom(1.2), "-": () => zoom(1 / 1.2), 0: () => { view.rect = null; look(); },
  }[key] || (/^[1-9]$/.test(key) ? () => $("readings").querySelectorAll("input")[key - 1]?.click() : null);
  if (does) { event.preventDefault(); does(); }
});
for (const id of ["boxes", "map", "invert"]) $(id).addEventListener("click", () => toggle(id));
for (const id of ["brightness", "contrast"]) $(id).addEventListener("input", () => { view[id] = Number($(id).value); look(); });
for (const [id, does] of Object.entries({ in: () => zoom(1.2), out: () => zoom(1 / 1.2), reset, before: () => turn(-1), after: () => turn(1) })) $(id).addEventListener("click", does);
$("again").addEventListener("submit", again);
$("downloads").addEventListener("click", (event) => { const what = event.target.dataset?.get; if (what) download(what); });
$("clear").addEventListener("click", () => { show(null); for (const film of [...films]) forget(film); });
$("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); document.body.classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("over"); dropped(event.dataTransfer); });

recall().catch(() => {}).finally(watch);
ready().catch((error) => { $("ready").textContent = error.message; });
