// Who answers the reads, against what was asked for; the control, and the way back to 0 that needs no second thought.
const STEPS = [1, 5, 10, 25, 50, 75, 100];
/** What the operator has picked and not yet set. */
let picked = null;

const pick = (value) => {
  picked = Math.max(0, Math.min(100, Math.round(Number(value) * 100) / 100 || 0));
  showPicked();
};

const showPicked = () => {
  const value = picked ?? latest.status?.read_percent ?? 0;
  const [slider, input] = [$('slider'), $('percent-input')];
  if (document.activeElement !== input || picked === null) input.value = value;
  slider.value = value;
  slider.setAttribute('aria-valuetext', percent(value));
  const changed = value !== latest.status?.read_percent;
  $('percent-set').disabled = !changed;
  say('percent-set', changed ? `Set to ${percent(value)}` : 'Set');
};

const setPercent = async (value) => {
  const change = (force) => () => changePolicy({ read_percent: value, force });
  if (await attempt($('reads-refused'), change(false), change(true))) picked = null;
  showPicked();
};

const prepareReads = () => {
  $('percent-steps').append(...STEPS.map((value) => button(`${value}`, () => pick(value))));
  $('slider').addEventListener('input', (event) => pick(event.target.value));
  $('percent-input').addEventListener('input', (event) => pick(event.target.value));
  $('percent-form').addEventListener('submit', (event) => { event.preventDefault(); if (picked !== null) setPercent(picked); });
  $('back').addEventListener('click', () => { picked = null; setPercent(0); });
  plot('plot-share', {
    title: 'Share of the reads that new answered',
    top: 100,
    unit: (value) => `${short(value)} %`,
    series: [
      { name: 'asked for', kind: 'k-ink', of: (s) => s.read_percent, step: true, asked: true },
      { name: 'answered by new', kind: 'k-new', of: (s) => s.share, area: true },
    ],
  });
};

const showReads = (status, sample) => {
  const { read_percent: asked, reads } = status;
  say('percent', percent(asked));
  // What was answered before the change says nothing of it.
  const share = sample?.read_percent === asked ? sample.share : null;
  $('split').querySelector('.tick').style.left = `${100 - asked}%`;
  const total = (sample?.rates?.old ?? 0) + (sample?.rates?.new ?? 0);
  const counting = share === null && total > 0;
  const widths = share === null ? [0, 0] : [100 - share, share];
  if (!counting) [...$('split').querySelectorAll('span')].forEach((part, at) => { part.style.width = `${widths[at]}%`; });
  const none = counting ? 'Counting who answers since the change' : 'No reads in the last seconds';
  const words = share === null
    ? status.phase === 'old_only' ? 'Old answers everything; reads are counted from dual_write on' : none
    : `Of ${rate(total)} reads a second, ${percent(Math.round(share * 10) / 10)} are answered by new`;
  say('split-says', words);
  $('split').setAttribute('aria-label', words);
  const why = [];
  if (reads.stale_total) why.push(`${count(reads.stale_total)} stayed on the primary to see their session’s own writes`);
  if (reads.fallback_total) why.push(`${count(reads.fallback_total)} were answered by the primary because the secondary failed`);
  say('reads-why', why.join('; '));
  say('back', asked > 0 ? `All reads back to old: 0 %` : 'All reads are on old');
  $('back').disabled = asked === 0;
  [...$('percent-steps').children].forEach((one) => one.setAttribute('aria-pressed', String(Number(one.textContent) === (picked ?? asked))));
  const open = carried(status);
  for (const id of ['slider', 'percent-input']) $(id).disabled = !open;
  [...$('percent-steps').children].forEach((one) => { one.disabled = !open; });
  showPicked();
};
