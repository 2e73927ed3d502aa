"use strict";
// Everything heavy lies in inert JSON blocks, and is read when somebody asks for it.
// Names are written as text, never as markup.
const byId = (id) => document.getElementById(id);
const read = (id) => JSON.parse(byId(id).textContent);
const { classes: names, places } = read("names");
const known = new Map();
const classData = (c) => {
  if (!known.has(c)) known.set(c, read("class-" + c));
  return known.get(c);
};
const named = (id) => names[Math.floor(id / places)] + ", prototype " + (id % places);
const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

function crops(data, prototype) {
  const box = document.createElement("div");
  box.className = "crops";
  prototype.examples.forEach((example, column) => {
    const crop = document.createElement("div");
    crop.className = example.label === prototype.label ? "crop" : "crop other";
    crop.setAttribute("role", "img");
    const text = "training image " + example.image + ", cosine " + example.cosine + ", labelled " + names[example.label];
    crop.setAttribute("aria-label", text);
    crop.title = text;
    crop.style.cssText = "width:" + data.size + "px;height:" + data.size + "px";
    crop.style.backgroundImage = "url(" + data.sprite + ")";
    crop.style.backgroundPosition = -column * data.size + "px " + -prototype.row * data.size + "px";
    box.append(crop);
  });
  if (!prototype.examples.length) box.append(element("p", "It wins none of the training pixels looked at."));
  return box;
}

function card(data, prototype) {
  const made = byId("card").content.cloneNode(true);
  made.querySelector("h3").textContent = named(prototype.id);
  made.querySelector(".crops").replaceWith(crops(data, prototype));
  const list = made.querySelector("dl");
  for (const [name, value] of prototype.facts) list.append(element("dt", name), element("dd", value));
  return made;
}

document.querySelectorAll("details.class").forEach((details) => {
  details.addEventListener("toggle", () => {
    const place = details.querySelector(".cards");
    if (!details.open || place.childElementCount) return;
    const data = classData(Number(details.dataset.class));
    for (const prototype of data.prototypes) place.append(card(data, prototype));
    if (!data.prototypes.length) place.append(element("p", "This class has no living prototypes."));
  });
});

byId("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  const all = document.querySelectorAll("details.class");
  let shown = 0;
  for (const details of all) {
    details.hidden = !details.dataset.name.includes(wanted);
    shown += details.hidden ? 0 : 1;
  }
  byId("found").textContent = shown + " of " + all.length + " classes";
});

// Asking pixels.
const stage = byId("stage"), photo = byId("photo"), mark = byId("mark");
let picture = null, row = 0, column = 0;

function show() {
  photo.src = byId("coloured").checked ? picture.overlay : picture.photo;
  photo.alt = "Validation picture " + picture.name;
}
function choosePicture() {
  picture = read("picture-" + byId("shown").value);
  row = picture.rows >> 1;
  column = picture.columns >> 1;
  show();
  ask();
}
function sentence(role, id, cosine) {
  return role + " " + named(id) + ": cosine " + (cosine / 1000).toFixed(3) + ", distance " + (1 - cosine / 1000).toFixed(3) + ".";
}
function ask() {
  const at = row * picture.columns + column;
  mark.style.left = (100 * (column + 0.5)) / picture.columns + "%";
  mark.style.top = (100 * (row + 0.5)) / picture.rows + "%";
  const winner = picture.winner[at], rival = picture.rival[at], truth = picture.truth[at];
  const lines = ["Row " + row + ", column " + column + ".", sentence("Winner:", winner, picture.cosine[at])];
  if (rival >= 0) lines.push(sentence("Second, of another class:", rival, picture.rivalCosine[at]));
  lines.push(truth >= 0 ? "Truth: " + names[truth] + "." : "No truth is known here.");
  byId("answer").replaceChildren(...lines.map((line) => element("p", line)));
  const examples = byId("answer-examples");
  examples.replaceChildren();
  for (const id of rival >= 0 ? [winner, rival] : [winner]) {
    const data = classData(Math.floor(id / places));
    const prototype = data.prototypes.find((one) => one.id === id);
    examples.append(element("h3", "Training examples of " + named(id)), crops(data, prototype));
  }
}
stage.addEventListener("click", (event) => {
  const box = photo.getBoundingClientRect();
  const within = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  column = within((event.clientX - box.left) / box.width, picture.columns);
  row = within((event.clientY - box.top) / box.height, picture.rows);
  ask();
});
stage.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 10 : 1;
  const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step], Enter: [0, 0] };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  row = Math.min(picture.rows - 1, Math.max(0, row + move[0]));
  column = Math.min(picture.columns - 1, Math.max(0, column + move[1]));
  ask();
});
byId("shown").addEventListener("change", choosePicture);
byId("coloured").addEventListener("change", show);
choosePicture();

// The map: its library runs when the map is first asked for.
const mapDetails = byId("map-details");
if (mapDetails) {
  mapDetails.addEventListener("toggle", () => {
    if (window.Bokeh) return;
    document.head.append(element("script", read("map-library")));
    window.Bokeh.embed.embed_item(read("map-data"), "map-place");
  }, { once: true });
}
