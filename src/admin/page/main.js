// The turn: every second the status and the new samples, every few seconds what changes seldom.
const latest = { status: null, samples: [], statements: [], tables: [], history: [], parked: [] };
const KEEP = 900, SELDOM = 4;
let turns = 0, since = 0, paused = false;

/** Rates, from a sample and the one some seconds before it; the share of new, from those since the share asked for was what it is now. */
const derive = (samples) => samples.forEach((sample, at) => {
  if ('share' in sample) return;
  const before = samples[at - 5] ?? samples[0];
  const took = sample.at - before.at;
  const per = (of) => (took > 0 ? Math.max(0, of(sample) - of(before)) / took : null);
  sample.rates = { old: per((s) => s.reads.old), new: per((s) => s.reads.new) };
  const recent = samples.slice(Math.max(0, at - 5), at + 1);
  const first = recent[recent.findLastIndex((s) => s.read_percent !== sample.read_percent) + 1];
  const [old, fresh] = ['old', 'new'].map((side) => Math.max(0, sample.reads[side] - first.reads[side]));
  sample.share = old + fresh > 0 ? (fresh * 100) / (old + fresh) : null;
  for (const name of ['matched', 'mismatched', 'raced']) sample[`${name}_rate`] = per((s) => s[name]);
});

const follow = async () => {
  const [status, series] = await Promise.all([get('/api/status'), get(`/api/series?since=${since}`)]);
  // After an outage everything is taken anew: a process that was started again counts from 1.
  latest.samples = (since ? [...latest.samples, ...series.samples] : series.samples).slice(-KEEP);
  since = latest.samples.at(-1)?.n ?? 0;
  latest.status = status;
  derive(latest.samples);
};

const lookUp = async () => {
  // One call that fails must not hide what the others say.
  const part = (path, name) => get(path).then((body) => { latest[name] = body[name] ?? []; }).catch(() => {});
  await Promise.all([part('/api/statements', 'statements'), part('/api/tables', 'tables'), part('/api/history', 'history'), part('/api/parked', 'parked')]);
};

const show = () => {
  const { status } = latest;
  const sample = latest.samples.at(-1);
  showQuestions(status);
  showPhase(status);
  showReads(status, sample);
  showLink(status, sample);
  showShadow(status);
  showStatements(wanted());
  showRecords(status);
  say('clients', count(status.clients));
  say('version', `version ${status.version}`);
  drawPlots(latest.samples);
};

const showLive = (kind, text) => {
  $('live').className = `live ${kind}`;
  say('live-text', text);
};

const refresh = async () => {
  await Promise.all([follow(), lookUp()]);
  show();
};

const turn = async () => {
  try {
    await follow();
    if (turns++ % SELDOM === 0) await lookUp();
    show();
    showLive('ok', 'live');
  } catch (error) {
    if (error.status === 401) {
      showLive('lost', 'a token is asked for');
      if (!dialog.open && !paused) paused = !(await askForToken());
      if (paused) showLive('lost', 'no token: reload the page to give one');
    } else {
      showLive('lost', `no answer since ${latest.samples.length ? moment(latest.samples.at(-1).at) : 'the page was opened'}`);
    }
    since = 0;
  }
  if (!paused) setTimeout(turn, 1000);
};

const THEMES = ['auto', 'light', 'dark'];
const theme = () => localStorage.getItem('pgduet-theme') ?? 'auto';
const showTools = () => {
  document.documentElement.dataset.theme = theme();
  say('theme', { auto: 'as the system', light: 'light', dark: 'dark' }[theme()]);
  say('who', session.who || 'your name');
};

for (const [title, id] of [['phase-title', 'phase-refused'], ['link-title', 'link-refused'], ['parked-title', 'parked-refused']]) $(title).closest('section').append(el('div', { id }));
$('theme').addEventListener('click', () => { localStorage.setItem('pgduet-theme', THEMES[(THEMES.indexOf(theme()) + 1) % 3]); showTools(); });
$('who').addEventListener('click', askForName);
prepareReads();
prepareLink();
prepareShadow();
prepareRecords();
showTools();
turn();
