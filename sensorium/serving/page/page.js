// The page that tries every model. What a model takes is told by its `source`, what it answers by the shape of the
// JSON; no task is named here. All text is set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

let about = null; // what GET /v1/models/{name} said
let question = null; // {files: [File], value: any JSON, further: {part: any JSON}, ready: bool}
let urls = []; // object URLs of the chosen files
let playing = null; // stops the playback of an earlier answer
let running = null; // aborts the request that is on its way

// --- asking the service ---------------------------------------------------------------------------------------

async function ask(path, init = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const response = await fetch(path, { ...init, headers: { ...headers, ...init.headers } });
  if (response.status === 401) {
    $("token-form").hidden = false;
    $("work").hidden = $("about").hidden = true;
    $("token").focus();
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Error("the service answered " + response.status);
  }
  if (!response.ok) throw new Error(body.error || "the service answered " + response.status);
  return body;
}

async function start() {
  const { models } = await ask("/v1/models");
  $("token-form").hidden = true;
  $("model").replaceChildren(...models.map((m) => make("option", { value: m.name }, m.name)));
  const wanted = decodeURIComponent(location.hash.slice(1));
  if (models.some((m) => m.name === wanted)) $("model").value = wanted;
  await choose();
}

async function choose() {
  clear();
  about = await ask("/v1/models/" + encodeURIComponent($("model").value));
  history.replaceState(null, "", "#" + encodeURIComponent(about.name));
  document.title = about.name + " · Sensorium";
  $("task").textContent = about.task;
  $("description").textContent = about.description;
  $("metrics").replaceChildren(...Object.entries(about.metrics).map(metric));
  showInput();
  showOptions();
  $("about").hidden = $("work").hidden = false;
}

function metric([name, found]) {
  const value = typeof found === "object" && found ? found.value : found;
  const text = typeof value === "number" ? short(value) : String(value);
  const range = found && typeof found.low === "number" ? ` ${short(found.low)}–${short(found.high)}` : "";
  return make("div", {}, make("dt", {}, name), make("dd", {}, text, make("small", { title: "95 % interval" }, range)));
}

const short = (number) => (Math.abs(number) >= 100 ? number.toFixed(0) : String(+number.toPrecision(3)));

// --- what to ask ----------------------------------------------------------------------------------------------

const MEDIA = {
  image: { accept: "image/*", several: false, say: "a picture" },
  audio: { accept: "audio/*,.wav,.flac,.ogg,.mp3", several: false, say: "a recording" },
  frames: { accept: "video/*,image/*", several: true, say: "a video, or the pictures of one in order" },
};

function showInput() {
  question = { files: [], value: null, further: {}, ready: false };
  const kind = MEDIA[about.source];
  const further = Object.entries(about.parts).slice(1);
  if (kind) $("input").replaceChildren(...fileInput(kind));
  else if (about.source === "label") $("input").replaceChildren(classInput());
  else if (about.source_kind === "text") $("input").replaceChildren(textInput(further.length ? titled(about.source) : "Text", (text) => text));
  else $("input").replaceChildren(...fileInput({ accept: "", several: false, say: "a file" }), textInput("or JSON", JSON.parse));
  $("input").append(...further.map(([name, kind]) => furtherInput(name, kind)));
  state();
}

const titled = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

// A further part of the example: a text, or values as JSON; several texts, one a line, where its name is a plural.
function furtherInput(name, kind) {
  const lines = kind === "text" && name.endsWith("s");
  const area = make("textarea", { id: "part-" + name, spellcheck: false, rows: kind === "text" ? 3 : 1 });
  area.addEventListener("input", () => {
    area.setCustomValidity("");
    const text = area.value.trim();
    try {
      if (!text) delete question.further[name];
      else if (lines && !text.startsWith("[")) question.further[name] = text.split("\n").filter((line) => line.trim());
      else question.further[name] = kind === "text" && !lines ? text : JSON.parse(text);
    } catch {
      delete question.further[name];
      area.setCustomValidity("This is not JSON.");
    }
    state();
  });
  const note = lines ? " (one a line)" : kind === "text" ? "" : " (JSON)";
  return make("div", { className: "field" }, make("label", { for: area.id }, titled(name) + note), area);
}

function textInput(name, read) {
  const area = make("textarea", { id: "text", spellcheck: false });
  area.addEventListener("input", () => {
    question.files = [];
    try {
      question.value = read(area.value);
      question.ready = area.value.trim() !== "";
    } catch {
      question.ready = false;
    }
    state();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
  });
  return make("div", { className: "field" }, make("label", { for: "text" }, name), area);
}

function classInput() {
  question.ready = true;
  const any = make("option", { value: "" }, about.labels.length ? "any" : "whatever it makes");
  const select = make("select", { id: "label" }, any, ...about.labels.map((l, i) => make("option", { value: i }, l)));
  select.addEventListener("change", () => {
    question.value = select.value === "" ? null : about.labels[Number(select.value)];
  });
  return make("div", { className: "field" }, make("label", { for: "label" }, "Class"), select);
}

function fileInput(kind) {
  const input = make("input", { type: "file", accept: kind.accept, multiple: kind.several, id: "file" });
  input.setAttribute("aria-label", "Choose " + kind.say);
  const drop = make("label", { className: "drop" }, make("span", {}, make("strong", {}, "Choose " + kind.say), make("br"), "or drop it here, or paste it"), input);
  const chosen = make("div", { className: "chosen", id: "chosen" });
  input.addEventListener("change", () => take([...input.files]));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (e) => (e.preventDefault(), drop.classList.add("over")));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (e) => (e.preventDefault(), drop.classList.remove("over")));
  drop.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
  return about.source === "audio" ? [drop, recorder(), chosen] : [drop, chosen];
}

function take(files) {
  if (!files.length) return;
  if (!(MEDIA[about.source] || {}).several) files = files.slice(0, 1);
  files.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = files.map((file) => URL.createObjectURL(file));
  question = { ...question, files, value: null, ready: true };
  clearAnswer();
  $("chosen").replaceChildren(preview(files));
  $("file").parentElement.classList.add("full");
  state();
}

function preview(files) {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const amount = size < 1e6 ? Math.ceil(size / 1e3) + " kB" : (size / 1e6).toFixed(1) + " MB";
  const note = make("p", {}, files.length > 1 ? `${files.length} pictures, ${amount}` : `${files[0].name}, ${amount}`);
  const kind = files[0].type.split("/")[0];
  let shown = "";
  if (files.length > 1) shown = make("div", { className: "strip" }, ...urls.slice(0, 12).map((src) => make("img", { src, alt: "" })));
  else if (kind === "image") shown = make("img", { src: urls[0], alt: "the picture chosen" });
  else if (kind === "audio") shown = make("audio", { src: urls[0], controls: true });
  else if (kind === "video") shown = make("video", { src: urls[0], controls: true, muted: true });
  return make("div", {}, shown, note);
}

// A recording is sent as WAV, which every service reads, whatever the browser records.
function recorder() {
  const button = make("button", { type: "button" }, "Record");
  let active = null;
  button.addEventListener("click", async () => {
    if (active) return active.stop();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      return fail("There is no microphone, or it may not be used here.");
    }
    const parts = [];
    active = new MediaRecorder(stream);
    active.ondataavailable = (event) => parts.push(event.data);
    active.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      active = null;
      button.textContent = "Record";
      button.className = "";
      take([await wav(new Blob(parts))]);
    };
    active.start();
    button.textContent = "Stop";
    button.className = "recording";
  });
  return make("div", { className: "record" }, button);
}

async function wav(blob) {
  const rate = 16000;
  const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
  const mix = new OfflineAudioContext(1, Math.max(1, Math.ceil(sound.duration * rate)), rate);
  const node = mix.createBufferSource();
  node.buffer = sound;
  node.connect(mix.destination);
  node.start();
  const samples = (await mix.startRendering()).getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const letters = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  letters(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  letters(8, "WAVEfmt ");
  [[16, 4, 16], [20, 2, 1], [22, 2, 1], [24, 4, rate], [28, 4, 2 * rate], [32, 2, 2], [34, 2, 16]].forEach(([at, bytes, value]) =>
    bytes === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true));
  letters(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((s, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, s)) * 32767, true));
  return new File([view.buffer], "recording.wav", { type: "audio/wav" });
}

function showOptions() {
  const rows = Object.entries(about.options).map(([name, schema]) => option(name, schema));
  $("options").replaceChildren(make("legend", {}, "Options"), ...rows);
  $("options").hidden = rows.length === 0;
}

function option(name, schema) {
  const kinds = schema.anyOf || [schema];
  const kind = kinds.find((k) => k.type !== "null") || {};
  const id = "option-" + name;
  let field;
  if (kind.enum) {
    field = make("select", { id }, ...kind.enum.map((v) => make("option", { value: JSON.stringify(v), selected: v === schema.default }, String(v))));
  } else if (kind.type === "boolean") {
    field = make("input", { id, type: "checkbox", checked: Boolean(schema.default) });
  } else if (kind.type === "number" || kind.type === "integer") {
    const step = kind.type === "integer" ? 1 : "any";
    const bounded = kind.minimum !== undefined && kind.maximum <= 100 && kinds.length === 1;
    field = make("input", { id, type: bounded ? "range" : "number", placeholder: "not set" });
    field.step = bounded && step === "any" ? (kind.maximum - kind.minimum) / 100 : step;
    if (kind.minimum !== undefined) [field.min, field.max] = [kind.minimum, kind.maximum];
    field.value = schema.default ?? "";
    if (bounded) {
      const shown = make("output", { for: id }, field.value);
      field.addEventListener("input", () => (shown.value = field.value));
      field = make("div", { className: "row" }, field, shown);
    }
  } else {
    const text = kind.type === "string" ? schema.default ?? "" : JSON.stringify(schema.default ?? null);
    field = make("input", { id, type: "text", value: text });
  }
  const row = make("div", { className: "option" }, make("label", { className: "name", for: id }, name.replaceAll("_", " ")), field);
  if (schema.description) row.append(make("small", {}, schema.description));
  return row;
}

// The options that differ from their defaults.
function parameters() {
  const given = {};
  for (const [name, schema] of Object.entries(about.options)) {
    const field = $("option-" + name);
    const kind = (schema.anyOf || [schema]).find((k) => k.type !== "null") || {};
    let value;
    if (kind.enum) value = JSON.parse(field.value);
    else if (kind.type === "boolean") value = field.checked;
    else if (kind.type === "number" || kind.type === "integer") value = field.value === "" ? null : Number(field.value);
    else if (kind.type === "string") value = field.value === "" ? schema.default ?? null : field.value;
    else value = JSON.parse(field.value || "null");
    if (JSON.stringify(value) !== JSON.stringify(schema.default ?? null)) given[name] = value;
  }
  return given;
}

function state(text = "") {
  $("go").disabled = !question.ready || running !== null;
  $("state").textContent = text;
}

// --- the request and its answer -------------------------------------------------------------------------------

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!question.ready || running) return;
  clearAnswer();
  const path = "/v1/models/" + encodeURIComponent(about.name) + ":predict";
  const asked = question;
  const request = new AbortController();
  running = request;
  state("asking …");
  let note = "";
  try {
    const given = parameters();
    const init = { method: "POST", signal: request.signal };
    if (asked.files.length) {
      init.body = new FormData();
      asked.files.forEach((file) => init.body.append("inputs", file, file.name));
      for (const [name, value] of Object.entries(asked.further)) init.body.append(name, typeof value === "string" ? value : JSON.stringify(value));
      if (Object.keys(given).length) init.body.append("parameters", JSON.stringify(given));
    } else {
      init.headers = { "Content-Type": "application/json" };
      init.body = JSON.stringify({ inputs: whole(asked), parameters: given });
    }
    curl(path, asked, given);
    const begin = performance.now();
    const result = await ask(path, init);
    note = Math.round(performance.now() - begin) + " ms";
    $("empty").hidden = true;
    $("json").textContent = JSON.stringify(result, (_, v) => (typeof v === "string" && v.length > 300 ? v.slice(0, 80) + " …" : v), 1);
    $("raw").hidden = false;
    await draw(result, asked);
    $("answer").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (error.name !== "AbortError") fail(error.message);
  } finally {
    if (running === request) {
      running = null;
      state(note);
    }
  }
});

function fail(message) {
  $("empty").hidden = true;
  $("error").textContent = message;
  $("error").hidden = false;
}

// The example: its one value, or an object of its parts.
const whole = (asked) => (Object.keys(about.parts).length > 1 ? { [about.source]: asked.value, ...asked.further } : asked.value);

function curl(path, asked, given) {
  const quote = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
  const lines = ["curl " + quote(location.origin + path)];
  if (sessionStorage.getItem("token")) lines.push('-H "Authorization: Bearer $SENSORIUM_TOKEN"');
  if (asked.files.length) {
    asked.files.slice(0, 8).forEach((file) => lines.push("-F " + quote("inputs=@" + file.name)));
    for (const [name, value] of [...Object.entries(asked.further), ...Object.entries(given)]) lines.push("-F " + quote(name + "=" + (typeof value === "string" ? value : JSON.stringify(value))));
  } else {
    lines.push("-H 'Content-Type: application/json'", "-d " + quote(JSON.stringify({ inputs: whole(asked), parameters: given })));
  }
  $("curl").textContent = lines.join(" \\\n  ");
  $("call").hidden = false;
}

function clearAnswer() {
  if (playing) playing();
  playing = null;
  $("shown").replaceChildren();
  $("error").hidden = $("raw").hidden = $("call").hidden = true;
  $("empty").hidden = false;
}

function clear() {
  if (running) running.abort();
  running = null;
  clearAnswer();
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
}

// --- answers by their shape -----------------------------------------------------------------------------------

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const isPicture = (v) => typeof v === "string" && v.startsWith("data:image/");
const listOf = (v, test) => Array.isArray(v) && v.length > 0 && v.every((one) => isObject(one) && test(one));
const isBox = (v) => isObject(v.box) && ["xmin", "ymin", "xmax", "ymax"].every((k) => typeof v.box[k] === "number");
const inFrame = (frame) => Object.values(frame).find((v) => Array.isArray(v));

const isSound = (v) => typeof v === "string" && v.startsWith("data:audio/");
const isPoint = (v) => typeof v.x === "number" && typeof v.y === "number";

// The text that an answer mostly is: its `text`, `answer`, `..._text`, filled `sequence`, or the last turn of a chat.
function words(result) {
  const known = (name) => ["text", "answer", "sequence"].includes(name) || name.endsWith("_text");
  const found = Object.entries(result).find(([name, v]) => known(name) && (typeof v === "string" || listOf(v, (turn) => typeof turn.content === "string")));
  if (!found) return null;
  return typeof found[1] === "string" ? found[1] : found[1][found[1].length - 1].content;
}

async function draw(result, asked) {
  const place = $("shown");
  const picture = asked.files.length === 1 && asked.files[0].type.startsWith("image/") && urls[0];
  if (listOf(result, (f) => "frame" in f && (inFrame(f) || []).every(isBox)) && asked.files.length) return frames(place, result, asked);
  if (picture && listOf(result, (one) => isPicture(one.mask))) return masks(place, result, picture);
  if (picture && listOf(result, (one) => listOf(one.keypoints, isPoint))) return points(place, result, picture);
  if (listOf(result, isBox)) return boxes(place, result, picture);
  if (listOf(result, (one) => typeof one.word === "string" && Number.isInteger(one.start) && Number.isInteger(one.end)) && typeof asked.value === "string") return spans(place, result, asked.value);
  if (isObject(result) && isSound(result.audio)) return place.append(make("audio", { src: result.audio, controls: true, className: "heard" }));
  if (listOf(result, (one) => "label" in one && "score" in one)) return bars(place, result);
  if (isPicture(result) || (isObject(result) && Object.values(result).some(isPicture))) return pictures(place, [result]);
  if (Array.isArray(result) && result.length && result.every((r) => isPicture(r) || (isObject(r) && Object.values(r).some(isPicture)))) return pictures(place, result);
  if (isObject(result)) {
    const text = words(result);
    if (text !== null) return said(place, text, result.chunks || result.words, asked);
  }
  if (listOf(result, (one) => words(one) !== null)) {
    if (result.every((one) => typeof one.score === "number")) return bars(place, result.map((one) => ({ label: words(one), score: one.score })));
    return result.forEach((one) => said(place, words(one), null, asked));
  }
  if (Array.isArray(result) && !result.length) {
    if (picture) await boxes(place, [], picture);
    return place.append(make("p", { className: "quiet" }, "Nothing was found."));
  }
  place.append(make("pre", { className: "plain" }, JSON.stringify(result, null, 1)));
}

function bars(place, result) {
  const rows = [...result].sort((a, b) => b.score - a.score).map(({ label, score }) => {
    const fill = make("i");
    fill.style.width = 100 * Math.max(0, Math.min(1, score)) + "%";
    return make("li", {}, make("span", { className: "name" }, String(label)), make("span", { className: "number" }, percent(score)), make("span", { className: "bar" }, fill));
  });
  place.append(make("ul", { className: "bars" }, ...rows));
}

const percent = (score) => (typeof score === "number" ? (100 * score).toFixed(score < 0.1 ? 1 : 0) + " %" : "");

// A colour for a name or number, always the same, neighbours far apart.
function colour(key) {
  let hash = 7;
  for (const c of String(key)) hash = (hash * 31 + c.codePointAt(0)) % 9973;
  return `hsl(${Math.round((hash * 137.508) % 360)} 72% 36%)`;
}

function load(src) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("the browser cannot show this picture"));
    image.src = src;
  });
}

// Picture and boxes on a canvas as large as the page allows; lines and letters keep their size on the screen.
function paint(canvas, image, width, height, objects, key) {
  const most = Math.min(canvas.parentElement.clientWidth || 640, 900);
  const scale = Math.min(most / width, 560 / height, Math.max(1, 360 / Math.max(width, height)));
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * scale * ratio;
  canvas.height = height * scale * ratio;
  canvas.style.width = width * scale + "px";
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.imageSmoothingEnabled = scale < 3;
  if (image) pen.drawImage(image, 0, 0, width * scale, height * scale);
  pen.font = "600 13px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (const one of [...objects].sort((a, b) => (a.score ?? 1) - (b.score ?? 1))) {
    const [x, y, r, b] = [one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax].map((v) => v * scale);
    pen.strokeStyle = pen.fillStyle = colour(key(one));
    pen.lineWidth = 2.5;
    pen.strokeRect(x, y, r - x, b - y);
    const named = one.id === undefined ? String(one.label) : `${one.id} ${one.label}`;
    const text = (named.length > 24 ? named.slice(0, 23) + "…" : named) + (one.score === undefined ? "" : " " + percent(one.score));
    const long = pen.measureText(text).width + 10;
    const left = Math.max(0, Math.min(x - 1, width * scale - long));
    const top = y >= 20 ? y - 20 : y;
    pen.fillRect(left, top, long, 20);
    pen.fillStyle = "#fff";
    pen.fillText(text, left + 5, top + 10.5);
  }
}

function legend(objects, key) {
  const seen = new Map();
  for (const one of objects) if (!seen.has(key(one))) seen.set(key(one), one);
  const rows = [...seen].slice(0, 60).map(([name, one]) => {
    const dot = make("i");
    dot.style.background = colour(name);
    const count = objects.filter((o) => key(o) === name).length;
    const text = one.id === undefined ? (count > 1 ? `${one.label} × ${count}` : String(one.label)) : `${one.id} ${one.label}`;
    return make("li", {}, dot, make("span", { className: "name" }, text));
  });
  return make("ul", { className: "objects" }, ...rows);
}

async function boxes(place, result, src) {
  const key = (one) => one.label;
  if (src) {
    const image = await load(src);
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", result.length + " objects");
    place.append(make("div", {}, canvas));
    const again = () => paint(canvas, image, image.naturalWidth, image.naturalHeight, result, key);
    again();
    window.addEventListener("resize", again);
    playing = () => window.removeEventListener("resize", again);
  }
  place.append(legend(result, key));
}

// Regions in their colours over the picture; a mask is white where its region is.
async function masks(place, result, src) {
  const key = (one) => (one.label === undefined ? result.indexOf(one) + 1 : one.label);
  const image = await load(src);
  const layers = await Promise.all(result.map((one) => load(one.mask)));
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight, className: "scene" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", result.length + " regions");
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  layers.forEach((layer, i) => {
    const sheet = make("canvas", { width: canvas.width, height: canvas.height });
    const own = sheet.getContext("2d");
    own.drawImage(layer, 0, 0, sheet.width, sheet.height);
    const pixels = own.getImageData(0, 0, sheet.width, sheet.height);
    const swatch = make("canvas", { width: 1, height: 1 }).getContext("2d");
    swatch.fillStyle = colour(key(result[i]));
    swatch.fillRect(0, 0, 1, 1);
    const [r, g, b] = swatch.getImageData(0, 0, 1, 1).data;
    for (let at = 0; at < pixels.data.length; at += 4) {
      const share = pixels.data[at] / 255;
      pixels.data.set([r, g, b, 140 * share], at);
    }
    own.putImageData(pixels, 0, 0);
    pen.drawImage(sheet, 0, 0);
  });
  place.append(make("div", {}, canvas), legend(result.map((one) => ({ ...one, label: key(one) })), (one) => one.label));
}

// The joints of each body, and lines between those that the model says belong together.
async function points(place, result, src) {
  const image = await load(src);
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight, className: "scene" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", result.length + " bodies");
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const size = Math.max(2, Math.hypot(canvas.width, canvas.height) / 200);
  result.forEach((body, i) => {
    pen.fillStyle = pen.strokeStyle = colour(i);
    pen.lineWidth = size / 2;
    for (const [a, b] of body.skeleton || []) {
      const [from, to] = [body.keypoints[a], body.keypoints[b]];
      if (!from || !to) continue;
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x, to.y);
      pen.stroke();
    }
    for (const point of body.keypoints) {
      pen.beginPath();
      pen.arc(point.x, point.y, size, 0, 7);
      pen.fill();
    }
  });
  place.append(make("div", {}, canvas));
}

// The text with what was found in it marked. Places count characters, of which some are two units in a browser.
function spans(place, result, text) {
  const characters = [...text];
  const shown = make("p", { className: "said" });
  let at = 0;
  for (const one of [...result].sort((a, b) => a.start - b.start)) {
    if (one.start < at) continue;
    const kind = one.entity_group || one.entity;
    const mark = make("mark", { title: percent(one.score) }, characters.slice(one.start, one.end).join(""), make("small", {}, kind));
    mark.style.borderColor = colour(kind);
    shown.append(characters.slice(at, one.start).join(""), mark);
    at = one.end;
  }
  shown.append(characters.slice(at).join(""));
  place.append(shown);
}

// The frames of a video, or of several pictures, with what was found in each, played back.
async function frames(place, result, asked) {
  const key = (one) => one.id ?? one.label;
  const moving = asked.files[0].type.startsWith("video/");
  let images = [];
  let video = null;
  if (moving) {
    video = make("video", { src: urls[0], muted: true, preload: "auto" });
    await new Promise((done, failed) => {
      video.onloadeddata = done;
      video.onerror = () => failed(new Error("the browser cannot play this video; the JSON below holds the answer"));
    });
  } else {
    images = await Promise.all(urls.map(load));
  }
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  const button = make("button", { type: "button" }, "Pause");
  const slider = make("input", { type: "range", min: 0, max: result.length - 1, step: 1, value: 0, "aria-label": "Frame" });
  const shown = make("output", { className: "number" });
  place.append(make("div", {}, canvas), make("div", { className: "player" }, button, slider, shown));
  let at = 0;
  let timer = null;
  const show = async () => {
    slider.value = at;
    shown.value = `${at + 1} / ${result.length}`;
    const objects = inFrame(result[at]) || [];
    canvas.setAttribute("aria-label", `frame ${at + 1}: ${objects.length} objects`);
    if (moving) {
      const time = Math.min(video.duration - 0.001, ((at + 0.5) / result.length) * video.duration);
      await new Promise((done) => {
        video.onseeked = done;
        video.currentTime = time;
      });
      paint(canvas, video, video.videoWidth, video.videoHeight, objects, key);
    } else {
      const image = images[Math.min(at, images.length - 1)];
      paint(canvas, image, image.naturalWidth, image.naturalHeight, objects, key);
    }
  };
  const step = async () => {
    at = (at + 1) % result.length;
    await show();
    if (timer !== null) timer = setTimeout(step, result.length > 12 ? 66 : 250);
  };
  const stop = () => {
    clearTimeout(timer);
    timer = null;
    button.textContent = "Play";
  };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    button.textContent = "Pause";
    timer = setTimeout(step, 0);
  });
  slider.addEventListener("input", () => {
    stop();
    at = Number(slider.value);
    show();
  });
  playing = stop;
  await show();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches || result.length < 2) stop();
  else timer = setTimeout(step, 250);
  place.append(legend(result.flatMap((f) => inFrame(f) || []), key));
}

function pictures(place, results) {
  const figures = results.map((one) => {
    const src = isPicture(one) ? one : Object.values(one).find(isPicture);
    const rest = isObject(one) ? Object.entries(one).filter(([, v]) => !isPicture(v) && v !== null && typeof v !== "object") : [];
    const image = make("img", { src, alt: "the picture made" });
    image.onload = () => {
      const whole = Math.max(1, Math.floor((results.length > 1 ? 128 : 320) / image.naturalWidth));
      if (whole > 1) image.className = "small";
      image.width = image.naturalWidth * whole;
    };
    return make("figure", {}, image, make("figcaption", {}, rest.map(([name, v]) => `${name} ${v}`).join(", ")));
  });
  place.append(make("div", { className: "pictures" }, ...figures));
}

function said(place, text, chunks, asked) {
  place.append(make("p", { className: text ? "said" : "quiet" }, text || "Nothing was understood."));
  const timed = listOf(chunks, (c) => typeof c.text === "string" && Array.isArray(c.timestamp)) ? chunks : [];
  const sound = asked.files.length && asked.files[0].type.startsWith("audio/") ? make("audio", { src: urls[0], controls: true, className: "heard" }) : null;
  const buttons = timed.map((chunk) => {
    const [from, to] = chunk.timestamp;
    const times = `${Number(from).toFixed(2)}–${to === null ? "" : Number(to).toFixed(2)} s`;
    const button = make("button", { type: "button", disabled: !sound }, chunk.text.trim(), make("small", {}, times));
    button.addEventListener("click", () => {
      sound.currentTime = from;
      sound.play();
    });
    return button;
  });
  if (sound) {
    place.append(sound);
    sound.addEventListener("timeupdate", () => {
      timed.forEach((chunk, i) => buttons[i].classList.toggle("now", !sound.paused && sound.currentTime >= chunk.timestamp[0] && sound.currentTime < (chunk.timestamp[1] ?? Infinity)));
    });
    playing = () => sound.pause();
  }
  if (buttons.length) place.append(make("ul", { className: "words" }, ...buttons.map((b) => make("li", {}, b))));
}

// --- the rest of the page -------------------------------------------------------------------------------------

const guarded = (action) => async () => {
  try {
    await action();
  } catch (error) {
    $("work").hidden = false;
    if ($("token-form").hidden) fail(error.message);
    else $("work").hidden = true;
  }
};

$("model").addEventListener("change", guarded(choose));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  guarded(start)();
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files || [])];
  if (files.length && about && MEDIA[about.source]) take(files);
});
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault()); // a picture dropped beside the field must not replace the page
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
guarded(start)();
