// What needs somebody, in the order in which it does; and one sentence when nothing does.
const PHASES = ['old_only', 'dual_write', 'new_primary', 'new_only'];
const carried = (status) => status.phase === 'dual_write' || status.phase === 'new_primary';

const questions = (status) => {
  const { link, shadow, reads } = status;
  const found = [];
  const bad = (text) => found.push({ kind: 'bad', text });
  const warn = (text) => found.push({ kind: 'warn', text });
  const reason = link.reason ? `: ${link.reason}` : '';
  if (carried(status)) {
    if (link.state === 'detached') bad(`The link was given up${reason}. The tables are stale; reads of them stay on the primary.`);
    if (link.state === 'retrying') bad(`The link does not get through${reason}. What it misses is kept on the primary, and carried when it does.`);
    if (link.state === 'degraded') bad(`The secondary is behind${reason}. Commits are acknowledged by the primary alone until it has caught up.`);
    if (link.state === 'paused') warn('The link is held. What is written waits on the primary until it is let go on.');
    if (link.state === 'stopped') bad(`The link is stopped${reason}.`);
  }
  if (reads.withdrawn) warn(`Reads are withdrawn from the secondary: it is ${reads.withdrawn === 'down' ? 'down' : 'too far behind'}. The primary answers them.`);
  if (shadow.mismatched_total > 0) bad(`${plural(shadow.mismatched_total, 'read was', 'reads were')} answered differently by the two databases. The statements stand below.`);
  if (link.parked_total > 0) bad(`${plural(link.parked_total, 'entry is', 'entries are')} parked: the secondary refuses them for good.`);
  if (status.uncaptured_total > 0) {
    const first = status.uncaptured?.[0];
    warn(`${plural(status.uncaptured_total, 'write was', 'writes were')} not captured${first ? `, as ${first.statement} (${first.reason})` : ''}. Verify the tables before you rely on new.`);
  }
  if (status.bypassed?.length) warn(`Somebody writes to ${status.bypassed.map((found) => found.table).join(', ')} without the proxy. These rows are not on the secondary.`);
  for (const alert of status.alerts ?? []) warn(`Alert: ${alert.name.replaceAll('_', ' ')} is ${short(alert.value)}, over its threshold of ${short(alert.threshold)}.`);
  return found;
};

const headline = (status, found) => {
  if (found.length) return found.length === 1 ? 'One thing needs a look' : `${found.length} things need a look`;
  switch (status.phase) {
    case 'old_only': return 'Everything goes to old, as before';
    case 'dual_write': return status.read_percent > 0 ? `new follows, and is read for ${percent(status.read_percent).replace(' ', '\u00a0')} of the keys` : 'new follows old; nothing is read from it yet';
    case 'new_primary': return 'new decides, and old follows: the way back is open';
    default: return 'Everything goes to new';
  }
};

const showQuestions = (status) => {
  const found = questions(status);
  say('headline', headline(status, found));
  fill('questions', found, (all) => all.map(({ kind, text }) => el('li', { class: kind }, el('span', { textContent: text }))));
  document.title = found.length ? `(${found.length}) pgduet` : 'pgduet';
};
