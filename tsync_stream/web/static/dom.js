// Making and updating elements. Texts are always text nodes: nothing that a server says becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => made(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

// Changes what is there into what is wanted, and keeps what is equal: focus, selection and animations stay.
function morph(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, [...wanted.childNodes]);
}

function morphChildren(parent, wanted) {
  const old = [...parent.childNodes];
  wanted.forEach((node, place) => (place < old.length ? morph(old[place], node) : parent.append(node)));
  old.slice(wanted.length).forEach((node) => node.remove());
}

export function show(parent, ...children) {
  const holder = document.createDocumentFragment();
  holder.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  morphChildren(parent, [...holder.childNodes]);
}

// A sentence whose commands stand between backticks.
export const marked = (text) => text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

// A level, never by colour alone: a shape, a colour, and a word beside it.
const SHAPES = { green: "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1Z", degraded: "M6 .8 11.600 10.800H.4Z", red: "M1 1h10v10H1Z", none: "M6 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0 1.500a2.500 2.500 0 1 1 0 5 2.500 2.500 0 0 1 0-5Z" };
export const glyph = (level) =>
  s("svg", { class: `glyph ${level}`, viewBox: "0 0 12 12", width: 11, height: 11, "aria-hidden": "true" }, s("path", { d: SHAPES[level] || SHAPES.none }));

// ---- how numbers and times read ----

const whole = new Intl.NumberFormat("en");
export const count = (value) => (value === null || value === undefined ? "?" : whole.format(value));
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;
// The counts in a sentence, as `count` writes them.
export const grouped = (text) => text.replace(/(?<![\w.:-])\d{4,}(?= [a-z])/g, (digits) => count(Number(digits)));
export function rate(value) {
  if (value === null || value === undefined) return "?";
  return value >= 100 ? whole.format(Math.round(value)) : value >= 10 ? value.toFixed(0) : value === 0 ? "0" : value.toFixed(1);
}
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "?";
  if (seconds < 10) return `${seconds < 0.05 ? 0 : seconds.toFixed(1)} s`;
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  return `${Math.round(seconds)} s`;
}
export const ago = (time, now) => `${duration(Math.max(0, (now - new Date(time)) / 1000))} ago`;
export function clock(time) {
  const at = new Date(time);
  const two = (value) => String(value).padStart(2, "0");
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return new Date().toDateString() === at.toDateString() ? text : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${text}`;
}
export const percent = (share) => `${share >= 1 ? 100 : Math.min(99, Math.floor(share * 100))} %`;
export const keyText = (key) => (typeof key === "string" ? key : key && key.$oid ? key.$oid : JSON.stringify(key));
// The end of a replica's name tells it apart.
export const shortName = (name) => (name ? name.split("-").pop() : "nobody");
