// Lines over the last quarter of an hour. One plot is one element; it is drawn anew with each sample, a few hundred points at most.
const WIDTH = 560, HEIGHT = 168, LEFT = 44, BOTTOM = 20, TOP = 8;
const SPAN = 15 * 60;
const plots = [];

const ceiling = (value) => {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * unit).find((step) => step >= value);
};

/**
 * `series`: [{ name, kind, of(sample), area, step, asked }], values or null for a gap. `unit(value)` formats. `least`: the smallest top of the scale.
 * Arrow keys and the pointer move a crosshair; its values stand in the legend.
 */
const plot = (id, { title, series, unit = short, least = 1, top = null }) => {
  const host = $(id);
  const picture = svg('svg', { role: 'img', tabindex: '0' });
  const legend = el('p', { class: 'legend', 'aria-hidden': 'true' });
  host.append(picture, legend);
  const self = { at: null, samples: [], wide: WIDTH, now: 0, span: SPAN, draw: () => {} };
  const x = (at) => self.wide - 4 - ((self.now - at) / self.span) * (self.wide - LEFT - 4);
  const line = (of, scale, step) => {
    let path = '', pen = false, before = null;
    for (const sample of self.samples) {
      const value = of(sample);
      if (value === null || value === undefined || Number.isNaN(value)) { pen = false; continue; }
      const [px, py] = [x(sample.at).toFixed(1), scale(value).toFixed(1)];
      path += pen ? (step && before !== py ? `H${px}V${py}` : `L${px} ${py}`) : `M${px} ${py}`;
      pen = true;
      before = py;
    }
    return path;
  };
  const area = (of, scale) => {
    const points = self.samples.map((s) => [x(s.at), of(s)]).filter(([, v]) => v !== null && v !== undefined && !Number.isNaN(v));
    if (points.length < 2) return '';
    const base = scale(0);
    return `M${points[0][0].toFixed(1)} ${base}${points.map(([px, v]) => `L${px.toFixed(1)} ${scale(v).toFixed(1)}`).join('')}L${points.at(-1)[0].toFixed(1)} ${base}Z`;
  };
  self.draw = () => {
    const { samples } = self;
    if (!samples.length) return;
    // The picture is as wide as its place, so that letters keep their shape.
    const wide = self.wide = Math.max(260, Math.round(host.clientWidth || WIDTH));
    picture.setAttribute('viewBox', `0 0 ${wide} ${HEIGHT}`);
    self.now = samples.at(-1).at;
    self.span = Math.min(SPAN, Math.max(60, self.now - samples[0].at));
    const largest = top ?? ceiling(Math.max(least, ...series.flatMap((s) => samples.map((sample) => s.of(sample) ?? 0))));
    const scale = (value) => HEIGHT - BOTTOM - (Math.min(value, largest) / largest) * (HEIGHT - BOTTOM - TOP);
    const grid = [0, 0.5, 1].flatMap((part) => {
      const y = scale(largest * part);
      return [svg('line', { class: part ? 'grid' : 'base', x1: LEFT, x2: wide, y1: y, y2: y }), label(LEFT - 6, y + 4, 'end', unit(largest * part))];
    });
    const minutes = self.span / 60;
    const every = [0.25, 0.5, 1, 2, 5].find((step) => minutes / step <= 4) ?? 5;
    const times = [];
    for (let back = 0; back <= minutes + 0.01; back += every) {
      const text = back ? (back < 1 || every < 1 ? `−${Math.round(back * 60)} s` : `−${back} min`) : 'now';
      times.push(label(x(self.now - back * 60), HEIGHT - 5, back ? 'middle' : 'end', text));
    }
    const changes = [];
    samples.forEach((sample, at) => {
      const former = samples[at - 1];
      if (former && former.phase !== sample.phase) changes.push(svg('line', { class: 'change', x1: x(sample.at), x2: x(sample.at), y1: TOP, y2: HEIGHT - BOTTOM }));
    });
    const drawn = series.flatMap((s) => [
      ...(s.area ? [svg('path', { class: `area ${s.kind}`, d: area(s.of, scale) })] : []),
      svg('path', { class: `${s.kind}${s.asked ? ' asked' : ''}`, d: line(s.of, scale, s.step) }),
    ]);
    const shown = self.at === null ? samples.at(-1) : samples[Math.max(0, Math.min(samples.length - 1, self.at))];
    const cross = self.at === null ? [] : [svg('line', { class: 'cross', x1: x(shown.at), x2: x(shown.at), y1: TOP, y2: HEIGHT - BOTTOM })];
    picture.replaceChildren(...grid, ...times, ...changes, ...drawn, ...cross);
    const value = (s) => { const v = s.of(shown); return v === null || v === undefined || Number.isNaN(v) ? '–' : unit(v); };
    legend.replaceChildren(
      ...series.map((s) => el('span', {}, el('i', { class: s.kind }), `${s.name} `, el('b', { textContent: value(s) }))),
      ...(self.at === null ? [] : [el('span', { textContent: new Date(shown.at * 1000).toLocaleTimeString('en-GB') })]),
    );
    picture.setAttribute('aria-label', `${title}. ${self.at === null ? 'Now' : new Date(shown.at * 1000).toLocaleTimeString('en-GB')}: ${series.map((s) => `${s.name} ${value(s)}`).join(', ')}. Arrow keys move through time.`);
  };
  const move = (to) => { self.at = to; self.draw(); };
  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    const at = self.now - ((box.right - 4 - event.clientX) / Math.max(1, box.width - LEFT - 4)) * self.span;
    const later = self.samples.findIndex((sample) => sample.at >= at);
    move(later < 0 ? self.samples.length - 1 : later);
  });
  picture.addEventListener('pointerleave', () => move(null));
  picture.addEventListener('blur', () => move(null));
  picture.addEventListener('keydown', (event) => {
    const from = self.at ?? self.samples.length - 1;
    const step = { ArrowLeft: -5, ArrowRight: 5, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === 'Escape') move(null);
    if (step === undefined) return;
    event.preventDefault();
    move(Math.max(0, Math.min(self.samples.length - 1, from + step)));
  });
  plots.push(self);
};

const label = (x, y, anchor, text) => {
  const node = svg('text', { x, y, 'text-anchor': anchor });
  node.textContent = text;
  return node;
};

const drawPlots = (samples) => plots.forEach((one) => { one.samples = samples; one.draw(); });
