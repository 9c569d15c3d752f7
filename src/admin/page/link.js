// The carrier: how far behind, what it did with what it was given, and whether that adds up. And both sides' latency.
const LINK_KIND = { running: 'good', degraded: 'bad', retrying: 'bad', detached: 'bad', paused: 'warn', starting: 'warn', stopped: 'off' };

const prepareLink = () => {
  const lag = (title, of, unit, least) => ({ title, unit, least, series: [{ name: 'behind', kind: 'k-lag', of, area: true }] });
  plot('plot-entries', lag('Entries committed and not yet carried', (s) => Math.max(0, s.lag_entries), short, 10));
  plot('plot-seconds', lag('Seconds that the secondary is behind', (s) => s.lag_seconds, (v) => `${short(v)} s`, 1));
  const latency = (quantile) => ({
    title: `Latency of reads, ${quantile}`,
    unit: milliseconds,
    least: 0.5,
    series: ['old', 'new'].map((side) => ({ name: side, kind: `k-${side}`, of: (s) => s.latency[side]?.[`${quantile}_ms`] ?? null })),
  });
  plot('plot-p50', latency('p50'));
  plot('plot-p99', latency('p99'));
};

const order = (name) => attempt($('link-refused'), () => send('POST', `/api/link/${name}`));

const showLink = (status, sample) => {
  const { link } = status;
  const carrier = $('carrier');
  carrier.className = `carrier ${LINK_KIND[link.state] ?? 'off'}${status.primary === 'new' ? ' reverse' : ''}`;
  say('link-state', link.state);
  const behind = link.lag_entries > 0 ? `${plural(link.lag_entries, 'entry', 'entries')}, ${seconds(link.lag_seconds)} behind` : 'nothing behind';
  say('link-lag', carried(status) ? behind : 'no link in this phase');
  for (const side of ['old', 'new']) {
    const single = !carried(status);
    say(`role-${side}`, status.primary === side ? 'primary' : single ? 'not in use' : 'secondary');
    say(`rate-${side}`, rate(sample?.rates?.[side] ?? null));
    say(`p50-${side}`, milliseconds(sample?.latency[side]?.p50_ms));
    say(`p99-${side}`, milliseconds(sample?.latency[side]?.p99_ms));
  }
  const figures = [
    ['captured', link.captured_total], ['applied', link.applied_total], ['superseded', link.superseded_total], ['queued', Math.max(0, link.queued ?? link.lag_entries)],
    ['parked', link.parked_total, 'bad'], ['discarded', link.discarded_total, 'warn'], ['not captured', status.uncaptured_total, 'warn'],
  ];
  fill('link-counts', figures, (all) => all.map(([name, value, kind]) => el('div', { class: value ? kind : null }, el('dt', { textContent: name }), el('dd', { textContent: count(value) }))));
  const missing = link.captured_total - link.applied_total - link.superseded_total - (link.queued ?? link.lag_entries) - link.parked_total - link.discarded_total;
  say('conservation', missing === 0 ? 'captured = applied + superseded + queued + parked + discarded: it adds up' : `It does not add up: ${count(missing)} touches are unaccounted for`);
  fill('link-orders', [link.state, carried(status)], () => {
    if (!carried(status) || link.state === 'detached' || link.state === 'stopped') return [];
    return [link.state === 'paused' ? button('Let it go on', () => order('resume'), 'strong') : button('Hold the link', () => order('pause'))];
  });
};
