// Small ways to say what stands on the page. Texts only ever become text nodes: what is shown was written by others.
const $ = (id) => document.getElementById(id);

/** An element with properties and children; `class`, `aria-*`, `role`, `scope` and `data-*` become attributes. */
const el = (name, properties = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'class' || key === 'role' || key === 'scope' || key === 'for' || /^(aria|data)-/.test(key)) node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

const svg = (name, attributes = {}, ...children) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  node.append(...children);
  return node;
};

/** Sets a text only where it changed, so that a screen reader is not told the same again. */
const say = (target, text) => {
  const node = typeof target === 'string' ? $(target) : target;
  if (node.textContent !== text) node.textContent = text;
};

/** Replaces the children only where what they are made of changed: focus, selection and scrolling stay. */
const fill = (target, state, make) => {
  const node = typeof target === 'string' ? $(target) : target;
  const key = JSON.stringify(state);
  if (node.dataset.state === key) return;
  node.dataset.state = key;
  node.replaceChildren(...[make(state)].flat());
};

const button = (text, act, kind = '') => el('button', { type: 'button', class: kind, textContent: text, onclick: act });
