// Tables whose columns sort: a button in each head, the state in `aria-sort`.

/** `columns`: [{ name, of(row), show(row), number, first: 'descending' }]. Returns what fills the table with rows. */
const sortedTable = (id, columns, { caption, empty, start, mark = () => '' }) => {
  const table = $(id);
  let order = start;
  let latest = [];
  const head = el('tr', {}, columns.map((column, at) => {
    const sort = button(column.name, () => {
      const flipped = order.direction === 'ascending' ? 'descending' : 'ascending';
      order = { at, direction: order.at === at ? flipped : (column.number ? 'descending' : 'ascending') };
      show(latest);
    });
    return el('th', { scope: 'col', class: column.number ? 'number' : null }, sort);
  }));
  const body = el('tbody');
  table.append(el('caption', { class: 'sr', textContent: caption }), el('thead', {}, head), body);
  const compare = (a, b) => {
    const [x, y] = [a, b].map(columns[order.at].of);
    const way = order.direction === 'ascending' ? 1 : -1;
    return way * (typeof x === 'string' ? x.localeCompare(y) : (x ?? -1) - (y ?? -1));
  };
  const line = (row) => el('tr', { class: mark(row) || null }, columns.map((column) => el('td', { class: column.number ? 'number' : null }, column.show(row))));
  const show = (rows) => {
    latest = rows;
    [...head.children].forEach((cell, at) => cell.setAttribute('aria-sort', at === order.at ? order.direction : 'none'));
    const sorted = [...rows].sort(compare);
    fill(body, [sorted, empty()], () =>
      sorted.length ? sorted.map(line) : [el('tr', {}, el('td', { class: 'empty', colSpan: columns.length, textContent: empty() }))]);
  };
  return show;
};
