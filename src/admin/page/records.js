// What is kept: tables and their sync state, parked entries, who changed what; and what the way back would cost.
const TABLE_KIND = { equal: 'good', assumed: '', copying: 'warn', diverged: 'bad', stale: 'bad', excluded: '' };
let showTables = () => {};
let showParked = () => {};

const prepareRecords = () => {
  showTables = sortedTable('tables', [
    { name: 'table', of: (t) => t.table, show: (t) => t.table },
    { name: 'state', of: (t) => t.state ?? '', show: (t) => el('span', { class: `tag ${TABLE_KIND[t.state] ?? ''}`, textContent: t.state ?? (t.mirrored === false ? 'not mirrored' : 'not followed yet') }) },
    { name: 'since', of: (t) => t.since ?? '', show: (t) => (t.since ? moment(t.since) : '–') },
    { name: 'captured by', of: (t) => t.capture ?? '', show: (t) => t.capture ?? '–' },
    { name: 'evidence', of: (t) => evidence(t.evidence), show: (t) => el('small', { textContent: evidence(t.evidence) }) },
  ], { caption: 'Tables and their sync state', empty: () => 'No tables yet.', start: { at: 0, direction: 'ascending' }, mark: (t) => (TABLE_KIND[t.state] === 'bad' ? 'bad' : '') });
  showParked = sortedTable('parked', [
    { name: 'entry', of: (p) => p.id, show: (p) => String(p.id), number: true },
    { name: 'table', of: (p) => p.table, show: (p) => p.table },
    { name: 'refused with', of: (p) => p.error, show: (p) => [el('span', { textContent: p.sqlstate }), el('small', { textContent: p.error })] },
    { name: 'since', of: (p) => p.at, show: (p) => moment(p.at) },
  ], { caption: 'Entries that the secondary refuses', empty: () => 'None.', start: { at: 0, direction: 'ascending' } });
  const parked = (action) => () => attempt($('parked-refused'), () => send('POST', '/api/parked', { action, by: session.who || 'dashboard' }));
  $('parked-orders').append(button('Try them again', parked('retry'), 'strong'));
};

const changed = (from, to) => Object.keys(to ?? {})
  .filter((key) => JSON.stringify(from?.[key]) !== JSON.stringify(to[key]))
  .map((key) => `${key.replaceAll('_', ' ')}${from ? ` ${evidence(from[key])} →` : ''} ${evidence(to[key])}`)
  .join(', ');

const showHistory = (history) => fill('history', history.slice(0, 100), (lines) => lines.length
  ? lines.map((line) => el('li', {}, el('time', { dateTime: line.at, textContent: moment(line.at) }), el('span', { class: 'by', textContent: line.by }),
    el('span', {}, changed(line.from, line.to) || 'nothing', line.evidence?.forced ? el('span', { class: 'tag warn', textContent: ' gates overridden' }) : null)))
  : [el('li', { class: 'quiet', textContent: 'Nothing was changed yet.' })]);

/** What holds, and what going back would mean now. */
const wayBack = (status, tables, statements) => {
  const { link } = status;
  const differing = tables.filter((t) => t.state === 'diverged' || t.state === 'stale').map((t) => t.table);
  const line = (kind, text, why = '') => ({ kind, text, why });
  if (status.phase === 'old_only') return [line('', 'Nothing to go back from', 'Old has everything; new can be thrown away and made anew.')];
  if (status.phase === 'new_only') return [line('bad', 'There is no way back from here', 'Old is not followed any more.')];
  const lines = [line('', 'Reads go back to the primary at once', 'One click, no connection dropped; a share of 0 is in force for every transaction that begins afterwards.')];
  if (status.primary === 'old') lines.push(line('', 'Old has every row', 'It decides; going back to old_only loses nothing, but new is no longer carried and becomes stale.'));
  const near = link.state === 'running' && link.lag_seconds <= 10;
  const follower = status.primary === 'old' ? 'new' : 'old';
  lines.push(line(near ? '' : 'bad', near ? `${follower} follows` : `${follower} does not follow closely`, `link ${link.state}, ${plural(Math.max(0, link.lag_entries), 'entry', 'entries')} and ${seconds(link.lag_seconds)} behind`));
  lines.push(line(link.parked_total ? 'bad' : '', link.parked_total ? `${plural(link.parked_total, 'entry is', 'entries are')} parked` : 'Nothing is parked'));
  const suspects = [...new Set(statements.filter((s) => s.mismatched > 0).flatMap((s) => s.tables ?? []))].sort();
  const answers = status.shadow.mismatched_total > 0 || suspects.length > 0;
  if (differing.length) lines.push(line('warn', `${plural(differing.length, 'table is', 'tables are')} not equal`, differing.slice(0, 8).join(', ')));
  if (answers) lines.push(line('bad', 'Reads were answered differently by the two databases', suspects.slice(0, 8).join(', ')));
  if (!differing.length && !answers) lines.push(line('', 'No table is known to differ'));
  lines.push(line(status.uncaptured_total ? 'warn' : '', status.uncaptured_total ? `${plural(status.uncaptured_total, 'write was', 'writes were')} not captured` : 'Every write was captured'));
  const bypassed = status.bypassed ?? [];
  lines.push(line(bypassed.length ? 'bad' : '', bypassed.length ? 'Somebody writes without the proxy' : 'Nobody was seen to write without the proxy', bypassed.map((found) => found.table).slice(0, 8).join(', ')));
  return lines;
};

const showRecords = (status) => {
  showTables(latest.tables);
  $('parked-card').hidden = latest.parked.length === 0;
  showParked(latest.parked);
  showHistory(latest.history);
  fill('way-back', wayBack(status, latest.tables, latest.statements), (all) => all.map(({ kind, text, why }) => el('li', { class: kind || null }, el('span', {}, text, why ? el('small', { textContent: why }) : null))));
};
