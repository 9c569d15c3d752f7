// postgres.js: pipelined by default, prepared under names of its own, cursors, COPY, nested transactions.
const postgres = require('postgres')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')

const run = Number(process.env.RUN)
const email = (name) => `js.${name}.${run}@example.com`
const show = (label, ...seen) => console.log(label, ...seen.map((value) => JSON.stringify(value)))
const sql = postgres({
  host: process.env.PGHOST, port: Number(process.env.PGPORT), database: process.env.PGDATABASE, username: process.env.PGUSER,
  max: 1, onnotice: (notice) => show('notice', notice.severity, notice.message),
})

async function attempt(label, action) {
  try {
    show(label, await action())
  } catch ({ message, code, position, detail, constraint_name: constraint }) {
    show(label, { message, code, position, detail, constraint })
  }
}

async function statements() {
  const rows = [1, 2, 3].map((n) => ({ email: email(`r${n}`), balance: n, tags: [`${n}`] }))
  const made = await sql`INSERT INTO customers ${sql(rows)} RETURNING email, balance, tags`
  show('returning', made, made.command, made.count, made.columns.map((c) => [c.name, c.type]))
  for (let turn = 0; turn < 3; turn++) {
    const changed = await sql`UPDATE customers SET balance = balance + ${turn} WHERE email = ${email('r1')}`
    show('changed', changed.command, changed.count, changed.length)
    show('read', await sql`SELECT balance, born FROM customers WHERE email = ${email('r1')}`)
  }
  const writes = [...Array(20).keys()].map((n) => sql`INSERT INTO events (what) VALUES (${`p${n}`}) RETURNING what`)
  show('pipelined', (await Promise.all(writes)).map(([row]) => row.what))
  const mixed = [sql`SELECT count(*) FROM events WHERE what = 'p1'`, sql`SELECT 1 / ${0}::int`, sql`UPDATE customers SET balance = 4 WHERE email = ${email('r2')}`]
  show('mixed', (await Promise.allSettled(mixed)).map((r) => [r.status, r.value?.count, r.reason?.code]))
  show('described', (await sql`UPDATE customers SET balance = 1 WHERE email = ${email('r1')}`.describe()).columns)
  show('simple', (await sql`SELECT 1 AS one; INSERT INTO events (what) VALUES ('s'); SELECT 2 AS two`.simple()).map((r) => [r.command, r.count, r]))
  await attempt('conflict', () => sql`INSERT INTO customers (email) VALUES (${email('r1')})`)
  await attempt('position', () => sql`DELETE FROM customers WHERE nothing = 1`)
}

async function transactions() {
  await sql.begin(async (tx) => {
    await tx`INSERT INTO customers (email) VALUES (${email('kept')})`
    await attempt('savepoint', () => tx.savepoint((inner) => inner`INSERT INTO customers (email) VALUES (${email('kept')})`))
    show('inside', await tx`SELECT count(*) FROM customers WHERE email = ${email('kept')}`)
  })
  await attempt('rolled back', () => sql.begin(async (tx) => {
    await tx`DELETE FROM customers WHERE email = ${email('kept')}`
    throw new Error('changed my mind')
  }))
  show('kept', await sql`SELECT count(*) FROM customers WHERE email = ${email('kept')}`)
}

async function streams() {
  const batches = []
  for await (const batch of sql`SELECT n FROM generate_series(1, 10) n`.cursor(4)) batches.push(batch.map((row) => row.n))
  show('cursor', batches)
  const lines = Array.from({ length: 100 }, (_, n) => `${run * 1000 + n}\tname ${n}\n`)
  await pipeline(Readable.from(lines), await sql`COPY copied (id, name) FROM STDIN`.writable())
  let text = ''
  for await (const chunk of await sql`COPY (SELECT id, name FROM copied WHERE id % 25 = 0 ORDER BY id) TO STDOUT`.readable()) text += chunk
  show('out', text)
  let hear
  const heard = new Promise((resolve) => { hear = resolve })
  await sql.listen('news', hear)
  await sql`DO $$ BEGIN RAISE NOTICE 'said'; END $$`
  await sql.notify('news', 'hello')
  show('heard', await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 5000, 'nothing'))]))
}

async function main() {
  for (const part of [statements, transactions, streams]) await part()
  await sql.end()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
