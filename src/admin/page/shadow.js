// Reads asked of both: how they came out over time, and which statements are wrong or slower on new.
const FILTERS = { 'wrong or slower': (s) => isWrong(s) || isSlower(s), wrong: (s) => isWrong(s), slower: (s) => isSlower(s), all: () => true };
let filter = 'wrong or slower';
let showStatements = () => {};

/** A side with fewer answers than this has no latency to speak of. */
const ENOUGH = 20;
const isWrong = (s) => (s.mismatched ?? 0) > 0 || (s.errors_by_side?.new ?? 0) > (s.errors_by_side?.old ?? 0);
const known = (s, at, side) => (s[at]?.[side] > 0 ? s[at][side] : null);
const ratio = (s) => (known(s, 'p99_ms', 'old') && known(s, 'p99_ms', 'new') ? s.p99_ms.new / s.p99_ms.old : null);
const asked = (s, side) => (s.calls_by_side?.[side] ?? 0) + (s.compared ?? 0);
const isSlower = (s) => asked(s, 'old') >= ENOUGH && asked(s, 'new') >= ENOUGH && ratio(s) >= 1.5 && s.p99_ms.new - s.p99_ms.old >= 0.5;

const prepareShadow = () => {
  plot('plot-shadow', {
    title: 'Shadow reads compared a second',
    least: 5,
    series: [
      { name: 'matched', kind: 'k-good', of: (s) => s.matched_rate, area: true },
      { name: 'raced', kind: 'k-raced', of: (s) => s.raced_rate },
      { name: 'mismatched', kind: 'k-bad', of: (s) => s.mismatched_rate },
    ],
  });
  $('statements-filter').append(...Object.keys(FILTERS).map((name) => button(name, () => { filter = name; showFilter(); showStatements(wanted()); })));
  const number = (name, of, show) => ({ name, of, show, number: true });
  const latency = (name, at, side) => number(name, (s) => known(s, at, side), (s) => milliseconds(known(s, at, side)));
  showStatements = sortedTable('statements', [
    { name: 'statement', of: (s) => s.statement ?? '', show: (s) => [el('code', { textContent: s.statement ?? s.fingerprint }), el('small', { textContent: [(s.tables ?? []).join(', '), s.last_mismatch?.what].filter(Boolean).join(': ') })] },
    number('calls', (s) => s.calls, (s) => count(s.calls)),
    number('compared', (s) => s.compared, (s) => count(s.compared)),
    number('mismatched', (s) => s.mismatched, (s) => el('span', { class: s.mismatched ? 'bad-text' : null, textContent: count(s.mismatched) })),
    number('raced', (s) => s.raced, (s) => count(s.raced)),
    number('errors', (s) => s.errors, (s) => count(s.errors)),
    latency('p50 old', 'p50_ms', 'old'), latency('p50 new', 'p50_ms', 'new'),
    latency('p99 old', 'p99_ms', 'old'), latency('p99 new', 'p99_ms', 'new'),
    number('new ÷ old', ratio, (s) => el('span', { class: isSlower(s) ? 'warn-text' : null, textContent: ratio(s) === null ? '–' : `${ratio(s).toFixed(1)} ×` })),
  ], {
    caption: 'Statements, what comparing their answers found, and the latency of both sides',
    empty: () => (latest.statements.length ? `${plural(latest.statements.length, 'statement was', 'statements were')} seen; none is ${filter === 'all' ? 'here' : filter}.` : 'Nothing was seen yet. It takes dual_write, reads, and a shadow sample above 0 %.'),
    start: { at: 3, direction: 'descending' },
    mark: (s) => (isWrong(s) ? 'bad' : isSlower(s) ? 'slow' : ''),
  });
  showFilter();
};

const wanted = () => latest.statements.filter(FILTERS[filter]);
const showFilter = () => [...$('statements-filter').children].forEach((one) => one.setAttribute('aria-pressed', String(one.textContent === filter)));

const showShadow = (status) => {
  const { shadow } = status;
  say('shadow-sample', `${percent(status.shadow_sample_percent)} of the reads are asked of both, after the client has its answer`);
  const figures = [
    ['matched', shadow.matched_total], ['mismatched', shadow.mismatched_total, 'bad'], ['raced', shadow.raced_total], ['dropped', shadow.dropped_total],
    ['inconclusive', shadow.inconclusive_total], ['failed on one side', shadow.failed_total, 'warn'],
  ].filter(([, value]) => value !== undefined);
  fill('shadow-counts', figures, (all) => all.map(([name, value, kind]) => el('div', { class: value ? kind : null }, el('dt', { textContent: name }), el('dd', { textContent: count(value) }))));
};
