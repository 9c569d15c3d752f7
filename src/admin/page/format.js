// Numbers and times, as they are read at a glance.
const count = (n) => (n ?? 0).toLocaleString('en-GB');

const percent = (n) => `${(n ?? 0).toLocaleString('en-GB', { maximumFractionDigits: 2 })} %`;

const rate = (n) => (n === null || n === undefined ? '–' : n >= 10 || n === 0 ? count(Math.round(n)) : n.toFixed(1));

const short = (n) => {
  if (n >= 1e6) return `${+(n / 1e6).toFixed(1)} M`;
  if (n >= 1e4) return `${+(n / 1e3).toFixed(1)} k`;
  if (n >= 100 || Number.isInteger(n)) return count(Math.round(n));
  return n >= 1 ? n.toFixed(1) : `${+n.toFixed(3)}`;
};

const milliseconds = (n) => {
  if (n === null || n === undefined || !Number.isFinite(n)) return '–';
  if (n >= 1000) return `${(n / 1000).toFixed(2)} s`;
  return n >= 10 ? `${n.toFixed(0)} ms` : `${n.toFixed(2)} ms`;
};

const seconds = (n) => {
  if (!n) return '0 s';
  if (n >= 120) return `${Math.floor(n / 60)} min ${Math.round(n % 60)} s`;
  return n >= 10 ? `${n.toFixed(0)} s` : `${n.toFixed(n >= 1 ? 1 : 2)} s`;
};

const moment = (text) => {
  const date = new Date(typeof text === 'number' ? text * 1000 : text);
  return Number.isNaN(date.valueOf()) ? String(text ?? '') : date.toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit' });
};

const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** What a gate found, in words: `key: value` of its evidence. */
const evidence = (value) => {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return value.length ? value.map(evidence).join('; ') : 'none';
  return Object.entries(value)
    .filter(([, v]) => v !== null && v !== '')
    .map(([k, v]) => `${k.replaceAll('_', ' ')}: ${typeof v === 'number' ? short(v) : evidence(v)}`)
    .join(', ');
};
